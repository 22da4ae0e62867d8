//! Every option of the configuration is read somewhere outside the configuration itself.

use std::fs;
use std::io;
use std::path::Path;

use super::rust_files;

/// Options of the network server, which is a program of its own: the library reads and validates them only.
const OF_THE_SERVER: [&str; 3] = ["max_connections", "rate_limit_ops_per_second", "metrics_port"];

pub(super) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let source = root.join("src");
    let home = source.join("config");
    let mut options = Vec::new();
    let mut readers = String::new();
    for file in rust_files(&source)? {
        let text = fs::read_to_string(&file)?;
        if file.starts_with(&home) {
            options.extend(fields(&text, "LightningDbConfig"));
        } else {
            readers.push_str(&text);
        }
    }
    options.retain(|option| !OF_THE_SERVER.contains(&option.as_str()));
    let unread = options.into_iter().filter(|option| !is_read(&readers, option));
    Ok(unread.map(|option| format!("the option `{option}` is read by nothing outside src/config")).collect())
}

/// The public fields of a struct, by the text of its definition.
fn fields(text: &str, name: &str) -> Vec<String> {
    let Some((_, body)) = text.split_once(&format!("pub struct {name} {{")) else { return Vec::new() };
    let body = body.split("\n}").next().unwrap_or(body);
    let lines = body.lines().filter_map(|line| line.trim().strip_prefix("pub "));
    lines.filter_map(|line| line.split_once(':')).map(|(field, _)| field.to_owned()).collect()
}

fn is_read(text: &str, option: &str) -> bool {
    text.match_indices(&format!(".{option}")).any(|(at, found)| {
        let after = text[at + found.len()..].chars().next();
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '(')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_matched_whole() {
        let text = "pub struct LightningDbConfig {\n    /// Size.\n    pub cache_size: usize,\n    pub cache: bool,\n}\npub struct Other {\n    pub x: u8,\n}";
        assert_eq!(fields(text, "LightningDbConfig"), ["cache_size", "cache"]);
        assert!(is_read("let x = config.cache_size;", "cache_size"));
        assert!(!is_read("let x = config.cache_size;", "cache"));
        assert!(!is_read("builder.cache(true)", "cache"));
    }
}
