//! What nobody can notice who has nothing but the files: the whole list.

/// Something that is not noticed. The text is the head of its entry in SECURITY.md, under "What is not noticed".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Undetectable {
    /// All that says which files are the database is of an older moment, or of another copy.
    OlderState,
    /// All of another database that the same key opens.
    AnotherDatabase,
    /// The newest frames of the log are gone.
    LogEnd,
    /// Commits that were not synced are gone after the machine was started again.
    Unsynced,
    /// A repository without its newest records.
    RepositorySetBack,
    /// Bytes that mean nothing.
    Meaningless,
}

impl Undetectable {
    /// All of them, in the order of SECURITY.md.
    pub(super) const ALL: [Self; 6] = [
        Self::OlderState,
        Self::AnotherDatabase,
        Self::RepositorySetBack,
        Self::Unsynced,
        Self::LogEnd,
        Self::Meaningless,
    ];

    /// Its name in SECURITY.md.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::OlderState => "An older state of the whole directory.",
            Self::AnotherDatabase => "Another database, or its repository, in the place of everything",
            Self::LogEnd => "An end of the log that is missing",
            Self::Unsynced => "Unsynced commits that are taken away after a restart.",
            Self::RepositorySetBack => "A repository that lost its newest records",
            Self::Meaningless => "Changes that mean nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_security_document() {
        let text = include_str!("../../../../SECURITY.md");
        let section = text.split("\n## ").find(|section| section.starts_with("What is not noticed"));
        let entries = section.expect("the section is there").split("\n- **").skip(1);
        let titles: Vec<&str> = entries.map(|entry| entry.split("**").next().unwrap_or_default()).collect();
        assert_eq!(titles, Undetectable::ALL.map(Undetectable::title));
    }
}
