//! Platform configuration registers: what a TPM was told of how the machine was started.

use std::collections::BTreeSet;
use std::fmt;

use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};

const LAST: u32 = 23;
/// SHA-1 is left out: who can make two states of one hash could start another system.
const BANKS: [(&str, HashingAlgorithm); 3] = [
    ("sha256", HashingAlgorithm::Sha256),
    ("sha384", HashingAlgorithm::Sha384),
    ("sha512", HashingAlgorithm::Sha512),
];

/// Some registers of one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pcrs {
    bank: usize,
    numbers: BTreeSet<u32>,
}

impl Pcrs {
    /// Reads `BANK:NUMBER,NUMBER…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (bank, numbers) = text.split_once(':')?;
        let bank = BANKS.iter().position(|(name, _)| *name == bank)?;
        let numbers: Option<BTreeSet<u32>> =
            numbers.split(',').map(|number| number.parse().ok().filter(|number| *number <= LAST)).collect();
        Some(Self { bank, numbers: numbers? })
    }

    /// As the TPM takes them.
    pub(super) fn selection(&self) -> tss_esapi::Result<PcrSelectionList> {
        PcrSelectionList::builder().with_selection(BANKS[self.bank].1, &self.slots()?).build()
    }

    /// Whether a TPM that has these registers has all of them. What it has not it would leave out silently.
    pub(super) fn are_in(&self, present: &PcrSelectionList) -> tss_esapi::Result<bool> {
        let slots = self.slots()?;
        let of_bank = |hash: HashingAlgorithm| hash == BANKS[self.bank].1;
        Ok(present.get_selections().iter().any(|bank| {
            of_bank(bank.hashing_algorithm()) && slots.iter().all(|slot| bank.is_selected(*slot))
        }))
    }

    fn slots(&self) -> tss_esapi::Result<Vec<PcrSlot>> {
        self.numbers.iter().map(|number| PcrSlot::try_from(1 << number)).collect()
    }
}

impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(u32::to_string).collect();
        write!(f, "{}:{}", BANKS[self.bank].0, numbers.join(","))
    }
}
