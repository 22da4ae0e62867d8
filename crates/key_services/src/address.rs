//! Where requests may go.

use std::net::IpAddr;

use http::Uri;

/// The host of an address that requests may go to. A key must not cross a network in the clear.
pub(crate) fn host(address: &str) -> Result<String, &'static str> {
    let uri: Uri = address.parse().map_err(|_| "it is no address: https://HOST:PORT is one")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("it is no address: https://HOST:PORT is one");
    };
    if authority.as_str().contains('@') {
        return Err("a name or password does not belong into an address");
    }
    if uri.query().is_some() {
        return Err("nothing may follow the path of an address");
    }
    let host = authority.host().to_owned();
    match scheme {
        "https" => Ok(host),
        "http" if is_local(&host) => Ok(host),
        _ => Err("beyond this machine it must be https:, for keys go there"),
    }
}

/// Whether a host is this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
