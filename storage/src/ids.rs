//! Names of things on disk, each its own type so that one is never taken for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number that follows this one; saturates at the largest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number!(
    /// The place of a commit in the order of all commits of one incarnation; the first is 1, 0 is "before any".
    SequenceNumber
);
number!(
    /// A segment's number within its database. A copy or a clone may draw the same number again; the segment's
    /// random salt keeps the two apart.
    SegmentId
);
number!(
    /// The place of a frame in the log of one incarnation; frames are numbered on across segments, from 1.
    FrameNumber
);
number!(
    /// A state of the manifest: each one that becomes current is one higher. Also the birth of a page.
    Generation
);

/// One history of a database. A restore, a rollback and a checkpoint opened for writing each draw a new one,
/// so that two histories never mix.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// The random salt from which a segment's key is derived. It belongs to one writer and is drawn anew for each segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 24]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
