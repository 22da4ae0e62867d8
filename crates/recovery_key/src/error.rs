//! What can be wrong with words.

/// Why words are no key. No error repeats a word.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// There are no words.
    Nothing,
    /// Neither the words of a key nor those of a share.
    Count {
        /// How many there are.
        found: usize,
    },
    /// A word that is not in the list.
    UnknownWord {
        /// The line, from 1, if there are several.
        line: Option<usize>,
        /// Its place in the line, from 1.
        place: usize,
    },
    /// All words are in the list, and one of them, or their order, is wrong.
    Checksum {
        /// The line, from 1, if there are several.
        line: Option<usize>,
    },
    /// There are not enough shares.
    TooFew {
        /// How many different ones there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A share belongs to another set than the first one.
    AnotherSet {
        /// Its line, from 1.
        line: usize,
    },
    /// One share is there twice, and not the same.
    Contradiction {
        /// The line of the second, from 1.
        line: usize,
    },
    /// A key cannot be split like this.
    Shares,
    /// The source of random bytes failed.
    Entropy(String),
}

impl std::fmt::Display for WordsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let in_line = |line: &Option<usize>| line.map(|line| format!(" of line {line}")).unwrap_or_default();
        match self {
            Self::Nothing => f.write_str("there are no words"),
            Self::Count { found } => write!(
                f,
                "there are {found} words: a recovery key has 24, a share has 30, on a line of its own"
            ),
            Self::UnknownWord { line, place } => {
                write!(f, "word {place}{} is not in the list: compare it with the paper", in_line(line))
            }
            Self::Checksum { line } => {
                let of = in_line(line);
                write!(f, "the checksum{of} does not fit: one word is another one, or two changed places")
            }
            Self::TooFew { found, needed } => {
                write!(
                    f,
                    "{found} of the {needed} shares that are needed are there: give {} more",
                    needed - found
                )
            }
            Self::AnotherSet { line } => {
                write!(
                    f,
                    "the share in line {line} is of another set than the first: it belongs to another key"
                )
            }
            Self::Contradiction { line } => {
                write!(f, "the share in line {line} has the number of an earlier one, and is another")
            }
            Self::Shares => f.write_str("a key is split into 2 to 16 shares, of which 2 or more are needed"),
            Self::Entropy(reason) => write!(f, "no random bytes: {reason}"),
        }
    }
}

impl std::error::Error for WordsError {}
