//! Where it ran.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine, as its kernel describes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of its threads this program may use.
    pub processors: usize,
    /// Its last level of cache.
    pub l3: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The kernel.
    pub kernel: String,
    /// The file system and the device below it.
    pub storage: String,
    /// What the program was built for.
    pub target: String,
    /// Processes that wanted to run when it began, a minute's average: the machine was not idle if this is not near 0.
    pub load: String,
    /// Whether a hypervisor is below.
    pub is_virtual: bool,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let after = |text: &str, name: &str| -> String {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let (family, model) = (after(&cpu, "cpu family"), after(&cpu, "model\t"));
        Self {
            processor: format!("{} (family {family}, model {model})", after(&cpu, "model name")),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            l3: read("/sys/devices/system/cpu/cpu0/cache/index3/size").trim().to_owned(),
            memory_mib: after(&memory, "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse().ok())
                .map_or(0, |kib: u64| kib / 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            storage: storage(&read("/proc/self/mounts")),
            target: target(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            is_virtual: after(&cpu, "flags").split(' ').any(|flag| flag == "hypervisor"),
        }
    }
}

/// The file system that the current directory is in.
fn storage(mounts: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        here.starts_with(place).then(|| (place.len(), format!("{kind} on {device}")))
    });
    mounts.max().map(|(_, text)| text).unwrap_or_default()
}

fn target() -> String {
    let level = if cfg!(target_feature = "avx512f") {
        "x86-64-v4"
    } else if cfg!(target_feature = "avx2") {
        "x86-64-v3"
    } else {
        "the baseline"
    };
    format!("{}, {level}", std::env::consts::ARCH)
}
