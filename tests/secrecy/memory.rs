//! What a process has in its memory while a database is open: the keys that others are derived from in protected memory and
//! nowhere else; and after it closed: no key of ours. The process is a child, and all of its memory is read from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use lightning_db::{
    CheckOptions, Database, EpochId, KeyProvider, KeySource, LightningDbConfig, RestoreOptions,
    VerifyOptions, check,
};
use lightning_db_crypto::{
    CryptoError, Entropy, Keyring, Purpose, SecretKey, SlotContext, WrappedKey, derive, open_object,
};

use crate::support::small;

const SCENARIO: &str = "LIGHTNING_TEST_MEMORY_SCENARIO";
/// How a region is called that the system leaves out of core files.
const PROTECTED: &str = "protected memory";
const PLACE: &str = "LIGHTNING_TEST_MEMORY_PLACE";

/// Without a plain copy in this program's text: the child is this program too.
fn key() -> [u8; 32] {
    std::array::from_fn(|index| (index as u8).wrapping_mul(37) ^ 0xc5)
}

/// Not a test: what the child does. It waits after each step to be looked at.
#[test]
fn child() {
    let (Ok(scenario), Some(place)) = (std::env::var(SCENARIO), std::env::var_os(PLACE)) else { return };
    let place = PathBuf::from(place);
    let simd = scenario.starts_with("fast");
    let config = LightningDbConfig {
        encryption_key: KeySource::file(place.join("key")),
        use_simd: simd,
        background_compaction: true,
        ..small()
    };
    let db = Database::create(place.join("db"), config.clone()).expect("create");
    work(&db, &place);
    pause("in use");
    if scenario.ends_with("close") {
        db.close().expect("close");
    }
    drop(db);
    let check_options =
        CheckOptions { encryption_key: config.encryption_key.clone(), ..CheckOptions::default() };
    assert!(check(place.join("db"), &check_options).expect("check").is_sound());
    let options =
        RestoreOptions { encryption_key: config.encryption_key.clone(), ..RestoreOptions::default() };
    Database::restore(place.join("repository"), place.join("restored"), options).expect("restore");
    let options = VerifyOptions { encryption_key: config.encryption_key.clone(), ..VerifyOptions::default() };
    assert!(Database::verify_repository(place.join("repository"), options).expect("verify").is_sound());
    let again = Database::open_read_only(place.join("db"), config).expect("open");
    assert!(again.scan(None, None).expect("scan").count() > 1000);
    drop(again);
    pause("closed");
}

fn work(db: &Database, place: &Path) {
    for round in 0..3_u32 {
        for index in 0..1200_u32 {
            db.put(&index.to_be_bytes(), format!("value {index} {round}").as_bytes()).expect("put");
        }
        db.put(b"large", &vec![round as u8; 200_000]).expect("put");
        db.checkpoint().expect("checkpoint");
        db.rotate_data_key().expect("rotate");
        db.backup(place.join("repository")).expect("backup");
    }
    db.compact().expect("compact");
    assert!(db.scan(None, None).expect("scan").count() > 1000);
}

fn pause(step: &str) {
    println!("\nstep {step}");
    std::io::stdout().flush().expect("flush");
    std::io::stdin().read_line(&mut String::new()).expect("a word to go on");
}

struct Looked {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Looked {
    fn start(scenario: &str, place: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["memory::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, scenario)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    fn wait_for(&mut self, step: &str) {
        let wanted = format!("step {step}\n");
        let mut line = String::new();
        while line != wanted {
            line.clear();
            assert!(self.output.read_line(&mut line).expect("a line") > 0, "the child ended before {step:?}");
        }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("its input").write_all(b"go on\n").expect("tell it");
    }

    /// All memory that can be read, by the region's name.
    fn memory(&self) -> Vec<(String, Vec<u8>)> {
        let id = self.child.id();
        let memory = File::open(format!("/proc/{id}/mem")).expect("its memory");
        let maps = fs::read_to_string(format!("/proc/{id}/smaps")).expect("its map");
        let mut regions: Vec<(String, Vec<u8>)> = Vec::new();
        let mut is_read = false;
        for line in maps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                // What is not to be in a core file.
                if flags.split_whitespace().any(|flag| flag == "dd")
                    && is_read
                    && let Some((name, _)) = regions.last_mut()
                {
                    *name = PROTECTED.to_owned();
                }
                continue;
            }
            let is_region = line.split_whitespace().next().is_some_and(|first| first.contains('-'));
            if !is_region {
                continue;
            }
            is_read = false;
            let mut fields = line.split_whitespace();
            let (range, access) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let name = fields.nth(3).unwrap_or("anonymous").to_owned();
            let (start, end) = range.split_once('-').expect("a range");
            let at = |text| u64::from_str_radix(text, 16).expect("an address");
            let mut bytes = vec![0; (at(end) - at(start)) as usize];
            if access.starts_with('r') && memory.read_exact_at(&mut bytes, at(start)).is_ok() {
                regions.push((name, bytes));
                is_read = true;
            }
        }
        regions
    }
}

/// Unwraps with the key, and remembers what came out: the master key.
#[derive(Debug)]
struct Listening {
    inner: std::sync::Arc<dyn KeyProvider>,
    master: Mutex<Option<[u8; 32]>>,
}

impl KeyProvider for Listening {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        self.inner.wrap(ctx, key, entropy)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let master = self.inner.unwrap(ctx, wrapped)?;
        *self.master.lock().expect("nobody panicked") = Some(*master.expose());
        Ok(master)
    }
}

/// Every key of ours that the files of `place` lead to, by what it is.
fn keys_of(place: &Path) -> BTreeMap<String, [u8; 32]> {
    let bytes = fs::read(place.join("db/KEYRING")).expect("the keyring");
    let inner = KeySource::raw(key()).resolve().expect("a key").expect("a key");
    let listening = Listening { inner, master: Mutex::new(None) };
    let keyring = Keyring::open(&bytes, Some(&listening)).expect("the keyring opens");
    let master = listening.master.lock().expect("nobody panicked").expect("it was unwrapped");
    let mut keys = BTreeMap::from([("wrapping key".to_owned(), key()), ("master key".to_owned(), master)]);
    for epoch in keyring.epochs() {
        let data_key = keyring.data_key(epoch.id).expect("its key");
        keys.insert(format!("data key {}", epoch.id.0), *data_key.expose());
    }
    let master = SecretKey::from_bytes(master);
    let database = keyring.database_id();
    let digests = derive(&master, Purpose::ContentDigest, &[database.as_bytes()]);
    keys.insert("digest key".to_owned(), *digests.expose());
    keys.insert("signing seed".to_owned(), signing_seed(&bytes, &keyring, &master));
    for folder in ["db", "restored", "repository/segments"] {
        for entry in fs::read_dir(place.join(folder)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let header = fs::read(&path).expect("read");
            if header.starts_with(b"LDBSEG\r\n") {
                let epoch = EpochId(u32::from_le_bytes(header[56..60].try_into().expect("4 bytes")));
                let id = u64::from_le_bytes(header[48..56].try_into().expect("8 bytes"));
                let salt = header[64..88].try_into().expect("24 bytes");
                let segment_key = keyring.segment_key(epoch, id, salt).expect("its key");
                keys.insert(format!("segment key of {}", path.display()), *segment_key.expose());
            }
        }
    }
    keys
}

/// The first 32 bytes of the keyring's body; what stands before the body is authenticated with it.
fn signing_seed(bytes: &[u8], keyring: &Keyring, master: &SecretKey) -> [u8; 32] {
    let content = &bytes[..bytes.len() - 32];
    let at = (0..content.len() - 4)
        .rfind(|at| {
            let length = u32::from_le_bytes(content[*at..at + 4].try_into().expect("4 bytes"));
            length as usize == content.len() - at - 4
        })
        .expect("the length of the body");
    let (clear, body) = content.split_at(at + 4);
    let suite = keyring.suite();
    let database = keyring.database_id();
    let plain =
        open_object(&**suite, master, "keyring body", database.as_bytes(), clear, body).expect("it opens");
    plain[..32].try_into().expect("32 bytes")
}

/// Where keys are found: what, in which region, and whether the rest of an AES key schedule follows.
fn find(memory: &[(String, Vec<u8>)], keys: &BTreeMap<String, [u8; 32]>) -> Vec<(String, String, bool)> {
    let mut first_bytes = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    keys.values().for_each(|key| first_bytes[pair(key)] = true);
    let mut found = Vec::new();
    for (region, bytes) in memory {
        for (at, window) in bytes.windows(32).enumerate() {
            if !first_bytes[pair(window)] {
                continue;
            }
            for (name, key) in keys.iter().filter(|(_, key)| *key == window) {
                let follows = bytes[at + 32..].starts_with(&next_round_key(key));
                found.push((name.clone(), region.clone(), follows));
            }
        }
    }
    found
}

/// What follows a key in its AES-256 key schedule (FIPS 197, section 5.2).
fn next_round_key(key: &[u8; 32]) -> [u8; 4] {
    let substitute = |byte: u8| {
        // The inverse in GF(2^8), by trying, and the affine map.
        let times = |mut a: u8, mut b: u8| {
            let mut product = 0;
            while b != 0 {
                product ^= if b & 1 == 1 { a } else { 0 };
                a = (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 };
                b >>= 1;
            }
            product
        };
        let inverse = (0..=255).find(|other| times(byte, *other) == 1).unwrap_or(0);
        (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
    };
    let last = [key[29], key[30], key[31], key[28]].map(substitute);
    [key[0] ^ last[0] ^ 1, key[1] ^ last[1], key[2] ^ last[2], key[3] ^ last[3]]
}

/// How often each kind of key was found, in which form and where.
fn kinds(found: &[(String, String, bool)]) -> BTreeMap<String, u32> {
    let mut kinds = BTreeMap::new();
    for (name, region, follows) in found {
        let name =
            ["segment key", "data key"].into_iter().find(|kind| name.starts_with(kind)).unwrap_or(name);
        let form = if *follows { "expanded" } else { "bare" };
        *kinds.entry(format!("{name}, {form}, in {region}")).or_default() += 1;
    }
    kinds
}

fn look(scenario: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    fs::write(place.join("key"), key()).expect("write");
    fs::set_permissions(place.join("key"), fs::Permissions::from_mode(0o600)).expect("mode");
    let mut child = Looked::start(scenario, place);
    child.wait_for("in use");
    let in_use = find(&child.memory(), &keys_of(place));
    child.go_on();
    child.wait_for("closed");
    let memory = child.memory();
    let keys = keys_of(place);
    let closed = find(&memory, &keys);
    child.go_on();
    assert!(child.child.wait().expect("its end").success());
    let bytes: usize = memory.iter().map(|(_, bytes)| bytes.len()).sum();
    let schedules = |found: &[(String, String, bool)]| found.iter().filter(|(.., follows)| *follows).count();
    println!(
        "{scenario}: {} keys looked for in {bytes} bytes; in use {} found, {} of them expanded; closed {}, {} expanded",
        keys.len(),
        in_use.len(),
        schedules(&in_use),
        closed.len(),
        schedules(&closed)
    );
    println!("in use: {:#?}\nclosed: {:#?}", kinds(&in_use), kinds(&closed));
    // Segment keys are in use as the cipher's key schedule, and the key of the digests as BLAKE3's state.
    let is_derived = |name: &str| name.starts_with("segment key") || name == "digest key";
    let unprotected = in_use.iter().filter(|(name, region, _)| !is_derived(name) && region != PROTECTED);
    let unprotected: Vec<_> = unprotected.collect();
    assert!(unprotected.is_empty(), "{scenario}: found in use elsewhere: {unprotected:?}");
    let is_found = |name: &str| in_use.iter().any(|(found, ..)| found.starts_with(name));
    assert!(is_found("master key") && is_found("data key"), "the search finds what is there: {in_use:?}");
    assert!(schedules(&in_use) > 0, "the search finds expanded keys: {in_use:?}");
    // BLAKE3 keeps its key where nobody else can wipe it; who has that key can check guesses about content, no more.
    let ours = closed.iter().filter(|(name, ..)| name != "digest key");
    assert_eq!(ours.count(), 0, "{scenario}: keys are left: {closed:#?}");
}

#[test]
fn no_key_is_left_after_closing() {
    look("fast close");
}

#[test]
fn no_key_is_left_after_dropping() {
    look("fast drop");
}

#[test]
fn no_key_is_left_by_the_portable_cipher() {
    look("portable close");
}

#[test]
fn the_key_schedule_is_that_of_the_standard() {
    // FIPS 197, appendix A.3: the key and w8.
    let key = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f,
        0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
    ];
    assert_eq!(next_round_key(&key), [0x9b, 0xa3, 0x54, 0x11]);
}
