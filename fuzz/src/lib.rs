//! Turns the targets, which stand beside the parsers in their crates, into programs.

mod memory;

use std::path::Path;

pub use libfuzzer_sys;
pub use memory::bounded;

/// The program of one target.
#[macro_export]
macro_rules! program {
    ($target:path) => {
        use $crate::libfuzzer_sys;
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::plant(($target.seeds)()),
            |data: &[u8]| { $crate::bounded($target.room, data, $target.run); }
        );
    };
}

/// Writes the inputs to begin with into the corpus: the first argument, if it is a folder.
pub fn plant(seeds: Vec<Vec<u8>>) {
    let Some(corpus) = std::env::args_os().skip(1).find(|argument| Path::new(argument).is_dir()) else {
        return;
    };
    for (number, seed) in seeds.into_iter().enumerate() {
        let path = Path::new(&corpus).join(format!("seed-{number:03}"));
        if let Err(error) = std::fs::write(&path, seed) {
            eprintln!("{}: {error}", path.display());
        }
    }
}
