//! Key services: what the program says where there is none, or its URI is wrong.

use std::net::TcpListener;

use crate::support::Place;

#[test]
fn a_service_that_cannot_be_reached_is_status_1_and_nothing_is_left_or_changed() {
    let place = Place::with_database();
    place.secret("token", "hvs.4711");
    let before = place.ok(["keys", "list", "db"]);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    for uri in [
        format!("vault:t/k?address=http://127.0.0.1:{port}&token-file=token&timeout=1"),
        "pkcs11:token=t;object=o?module-path=/nowhere.so&pin-source=token".to_owned(),
    ] {
        let created = place.run(["create", "new", "--json", "--key", &uri]);
        assert_eq!((created.status, created.error().0.as_str()), (1, "key_unreachable"), "{created:?}");
        assert!(!place.exists("new"), "a folder was left");
        let added = place.run(["keys", "add", "db", &uri]);
        added.is_failure(1, "cannot be reached");
        assert!(!added.err.contains("4711"), "{added:?}");
    }
    assert_eq!(place.ok(["keys", "list", "db"]), before);
}

#[test]
fn a_mistake_in_a_uri_is_pointed_at_and_no_secret_repeated() {
    let place = Place::with_database();
    for (uri, told) in [
        ("pkcs11:token=t;object=o?module-path=/m&pin-value=4711", "at character 40: pin-value= is refused"),
        ("pkcs11:tokn=4711;object=o?module-path=/m", "at character 8: there is no such name (is it token=?)"),
        ("vault:t/k?address=http://127.0.0.1:1&token=4711", "at character 38: token= is refused"),
        ("vault:t/k?address=http://vault.example&token-file=4711", "at character 19: "),
        ("awskms:alias/k?regoin=4711", "at character 16: there is no such name (is it region=?)"),
        #[cfg(feature = "azurekv")]
        ("azurekv://v/keys/k?secret=4711", "at character 20: secret= is refused"),
        #[cfg(feature = "gcpkms")]
        ("gcpkms://projects/p/location/4711", "at character 21: locations/ is expected here"),
        ("kmip:1?server=4711", "at character 15: HOST:PORT"),
    ] {
        for command in [&["get", "db", "k", "--key", uri][..], &["keys", "add", "db", uri]] {
            let ran = place.run(command);
            ran.is_failure(2, told);
            assert!(!ran.err.contains("4711"), "{ran:?}");
        }
    }
}
