//! Log output for applications that bring no logging of their own.
//!
//! The library reports through `tracing`. [`init_logger`] writes that to standard error, together with what the
//! application reports through `tracing` or `log`; key-value pairs of `log` are kept:
//!
//! ```
//! use lightning_db::logging::init_logger;
//!
//! init_logger();
//! log::info!(event = "database_started", cache_size_mb = 256; "ready");
//! ```

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

pub use log::LevelFilter;
use log::kv::{self, Key, Value};
use log::{Log, Metadata, Record};
use tracing::Subscriber;
use tracing_log::AsTrace;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::variable;
use crate::{LightningDbConfig, Result};

/// Writes log lines to standard error from now on. `RUST_LOG` says which (`RUST_LOG=lightning_db=debug`); without it
/// all at or above `LIGHTNING_DB_LOG_LEVEL`, and without that, `info`.
///
/// Does nothing where the application has set up `tracing` before, and the second time. Text that is no filter or no
/// level is reported and not used.
pub fn init_logger() {
    init(variable("LIGHTNING_DB_LOG_LEVEL"));
}

/// As [`init_logger`], with [`log_level`](LightningDbConfig::log_level) in place of `LIGHTNING_DB_LOG_LEVEL` (which
/// [`LightningDbConfig::load`] has put there).
pub fn init_logger_with(config: &LightningDbConfig) {
    init(Ok(Some(config.log_level.to_string())));
}

fn init(level: Result<Option<String>>) {
    let (filter, refused) = choose(variable("RUST_LOG"), level);
    let most = most_verbose(&filter);
    let colour =
        io::stderr().is_terminal() && !matches!(variable("NO_COLOR"), Ok(Some(text)) if !text.is_empty());
    if tracing::subscriber::set_global_default(subscriber(filter, colour, io::stderr)).is_err() {
        return;
    }
    if log::set_logger(&Bridge).is_ok() {
        log::set_max_level(most);
    }
    for reason in refused {
        tracing::warn!("{reason}");
    }
}

/// The filter, and what had to be passed over to get to it.
fn choose(rust_log: Result<Option<String>>, level: Result<Option<String>>) -> (EnvFilter, Vec<String>) {
    let mut refused = Vec::new();
    match rust_log {
        Ok(Some(text)) if !text.trim().is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => return (filter, refused),
            Err(_) => {
                refused.push("RUST_LOG is not a filter such as lightning_db=info, and is not used".to_owned())
            }
        },
        Ok(_) => {}
        Err(error) => refused.push(error.to_string()),
    }
    let level = level.unwrap_or_else(|error| {
        refused.push(error.to_string());
        None
    });
    let level = level.map_or(Ok(LevelFilter::Info), |text| text.trim().parse()).unwrap_or_else(|_| {
        refused.push(
            "LIGHTNING_DB_LOG_LEVEL is not off, error, warn, info, debug or trace; info is used".to_owned(),
        );
        LevelFilter::Info
    });
    (EnvFilter::default().add_directive(level.as_trace().into()), refused)
}

fn subscriber<W>(filter: EnvFilter, colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(writer).finish()
}

fn most_verbose(filter: &EnvFilter) -> LevelFilter {
    use tracing::level_filters::LevelFilter as Tracing;
    match filter.max_level_hint() {
        Some(Tracing::OFF) => LevelFilter::Off,
        Some(Tracing::ERROR) => LevelFilter::Error,
        Some(Tracing::WARN) => LevelFilter::Warn,
        Some(Tracing::INFO) => LevelFilter::Info,
        Some(Tracing::DEBUG) => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Takes records of `log` to `tracing`. The usual bridge drops their key-value pairs; here they follow the message.
struct Bridge;

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        tracing::dispatcher::get_default(|dispatch| dispatch.enabled(&metadata.as_trace()))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = record.args().to_string();
        // Appending to a string cannot fail; a value that does not format is left out.
        _ = record.key_values().visit(&mut Appended(&mut text));
        let whole = format_args!("{text}");
        // Declared to fail, and never does.
        _ = tracing_log::format_trace(&record.to_builder().args(whole).build());
    }

    fn flush(&self) {}
}

struct Appended<'a>(&'a mut String);

impl<'kvs> kv::VisitSource<'kvs> for Appended<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        match value.to_borrowed_str() {
            Some(text) => write!(self.0, "{key}={text:?}")?,
            None => write!(self.0, "{key}={value}")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written when `act` runs under the filter that the two variables give.
    fn written(rust_log: Option<&str>, level: Option<&str>, act: impl FnOnce()) -> String {
        let written = Shared::default();
        let writer = written.clone();
        let (filter, _) = choose(Ok(rust_log.map(Into::into)), Ok(level.map(Into::into)));
        tracing::subscriber::with_default(subscriber(filter, false, move || writer.clone()), act);
        let bytes = written.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("log lines are text")
    }

    fn log_with_pairs(level: log::Level) {
        let pairs = [("event", Value::from("database\nstarted")), ("cache_size_mb", Value::from(256))];
        let record = Record::builder()
            .level(level)
            .target("app")
            .args(format_args!("ready"))
            .key_values(&pairs)
            .build();
        Bridge.log(&record);
    }

    #[test]
    fn pairs_of_log_reach_the_output() {
        let text = written(None, None, || log_with_pairs(log::Level::Info));
        assert!(text.contains(r#"INFO app: ready event="database\nstarted" cache_size_mb=256"#), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn the_level_comes_from_the_variables() {
        let both = || {
            tracing::debug!(target: "lightning_db", "fine detail");
            log_with_pairs(log::Level::Warn);
        };
        assert!(!written(None, None, both).contains("fine detail"));
        assert!(written(None, Some("debug"), both).contains("fine detail"));
        assert_eq!(written(None, Some("off"), both), "");
        let ours = written(Some("lightning_db=debug"), Some("error"), both);
        assert!(ours.contains("fine detail") && !ours.contains("ready"), "{ours}");
    }

    #[test]
    fn text_that_is_no_filter_is_told_and_not_used() {
        let (_, refused) = choose(Ok(Some("=/=".into())), Ok(Some("loud".into())));
        assert_eq!(refused.len(), 2, "{refused:?}");
        let (filter, refused) = choose(Ok(Some(" ".into())), Ok(Some("warn".into())));
        assert!(refused.is_empty());
        assert_eq!(most_verbose(&filter), LevelFilter::Warn);
    }

    /// Runs only as the child process of the test below.
    #[test]
    #[ignore = "sets the logger of the whole process"]
    fn child() {
        init_logger();
        init_logger();
        init_logger_with(&LightningDbConfig::default());
        log::info!(event = "database_started", cache_size_mb = 256; "ready");
        tracing::debug!("not at this level");
    }

    #[test]
    fn a_process_logs_to_standard_error_once() -> io::Result<()> {
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "logging::tests::child", "--ignored", "--nocapture"])
            .env("RUST_LOG", "lightning_db=info")
            .output()?;
        let (errors, output) =
            (String::from_utf8_lossy(&child.stderr), String::from_utf8_lossy(&child.stdout));
        assert!(child.status.success(), "{output}{errors}");
        let found = errors.matches(r#"ready event="database_started" cache_size_mb=256"#).count();
        assert_eq!(found, 1, "{errors}");
        assert!(!errors.contains("not at this level") && !output.contains("database_started"));
        Ok(())
    }
}
