//! What the kernel knows about this process and its files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Reading;
use crate::Result;

/// What a run cost besides time, from [`begin`](Self::begin) on.
#[derive(Debug)]
pub struct Costs {
    written_bytes: u64,
    began: Instant,
    cpu: Cpu,
}

impl Costs {
    /// Begins to count. The peak of memory begins anew, if the kernel lets it.
    #[must_use]
    pub fn begin() -> Self {
        // Refused in some containers: then the peak is the whole process's, which is still one engine's.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self { written_bytes: written_bytes(), began: Instant::now(), cpu: Cpu::now() }
    }

    /// Adds what was counted to a reading. `user_bytes` are those of keys and values that were put, if any were.
    #[must_use]
    pub fn end(&self, reading: Reading, user_bytes: Option<u64>) -> Reading {
        let reading = reading
            .with("memory_peak_mib", status_mib("VmHWM:"))
            .with("memory_own_mib", status_mib("RssAnon:"))
            .with("processor_of_others_share", foreign_share(&self.cpu, &Cpu::now(), self.began.elapsed()));
        let Some(user_bytes) = user_bytes.filter(|&bytes| bytes > 0) else { return reading };
        let written = written_bytes().saturating_sub(self.written_bytes);
        reading.with("bytes_written_per_byte", written as f64 / user_bytes as f64)
    }
}

/// Bytes that this process caused to be written to storage, through memory maps too, since it began.
fn written_bytes() -> u64 {
    let value = |name: &str| number_after("/proc/self/io", name).unwrap_or(0);
    value("\nwrite_bytes:").saturating_sub(value("cancelled_write_bytes:"))
}

fn status_mib(name: &str) -> f64 {
    number_after("/proc/self/status", name).unwrap_or(0) as f64 / 1024.0
}

fn number_after(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = &text[text.find(name)? + name.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

/// Processor time, in ticks of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Of all processes, and what a hypervisor took.
    busy: u64,
    /// Of this process.
    own: u64,
}

impl Cpu {
    fn now() -> Self {
        let fields = |file: &str| -> Vec<u64> {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default();
            let after = line.rfind(')').map_or(line, |end| &line[end + 1..]);
            // Some fields are negative; none of those that count.
            let number =
                |word: &str| word.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or(0));
            after.split_whitespace().filter_map(number).collect()
        };
        // user nice system idle iowait irq softirq steal
        let all = fields("/proc/stat");
        let busy = all.iter().take(8).sum::<u64>() - all.iter().skip(3).take(2).sum::<u64>();
        // After the name and the letter of the state, utime is the 11th number and stime the 12th.
        let own = fields("/proc/self/stat").iter().skip(10).take(2).sum();
        Self { busy, own }
    }
}

const TICKS_PER_SECOND: f64 = 100.0;

/// The share of all processors that others had meanwhile, 0 to 1.
#[must_use]
pub fn foreign_share(before: &Cpu, after: &Cpu, elapsed: Duration) -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let of = |cpu: &Cpu| cpu.busy as f64 - cpu.own as f64;
    let share = (of(after) - of(before)) / TICKS_PER_SECOND / elapsed.as_secs_f64().max(0.01) / processors;
    share.clamp(0.0, 1.0)
}

/// Bytes that the files below a directory take on the disk.
#[must_use]
pub fn files_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// How many times a second the disk below `directory` takes a small append to a file whose space is allocated.
///
/// # Errors
/// Those of the file system.
pub fn syncs_per_second(directory: &Path, duration: Duration) -> Result<f64> {
    const FILE_BYTES: u64 = 8 << 20;
    const RECORD: [u8; 128] = [7; 128];
    fs::create_dir_all(directory)?;
    let path = directory.join("probe");
    let mut file = fs::File::create(&path)?;
    file.write_all(&vec![0; FILE_BYTES as usize])?;
    file.sync_all()?;
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < duration {
        file.write_all_at(&RECORD, count * RECORD.len() as u64 % FILE_BYTES)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// The longest time for which a thread that does nothing but look at the clock did not run: what the machine does to
/// anybody's latencies.
#[must_use]
pub fn idle_gap_max_ms(duration: Duration) -> f64 {
    let began = Instant::now();
    let (mut before, mut longest) = (began, Duration::ZERO);
    while before - began < duration {
        let now = Instant::now();
        longest = longest.max(now - before);
        before = now;
    }
    longest.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_this_process_is_its_own_and_not_another_one_s() {
        let (before, began) = (Cpu::now(), Instant::now());
        while began.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let after = Cpu::now();
        assert!(after.own > before.own && after.own - before.own <= 300, "{before:?} {after:?}");
        assert!(after.busy - before.busy + 2 >= after.own - before.own, "{before:?} {after:?}");
    }
}
