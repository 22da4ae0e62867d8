//! The flights, as the file in `examples/data` has them.

use crate::Outcome;

/// A flight: its id, and its row as JSON.
pub(crate) struct Flight {
    /// The running number of the row, zero-padded.
    pub(crate) id: String,
    /// Every column of the row by its name, in the file's order.
    pub(crate) columns: serde_json::Map<String, serde_json::Value>,
}

impl Flight {
    /// The value under which the flight is stored.
    pub(crate) fn json(&self) -> String {
        serde_json::Value::Object(self.columns.clone()).to_string()
    }
}

/// Reads all flights from the file that the project ships.
pub(crate) fn read() -> Outcome<Vec<Flight>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights-2013-q1.csv.zst");
    let mut lines = csv::Reader::from_reader(zstd::Decoder::new(std::fs::File::open(path)?)?);
    let names: Vec<String> = lines.headers()?.iter().map(str::to_owned).collect();
    let mut flights = Vec::new();
    for line in lines.records() {
        let line = line?;
        let id = line.get(0).ok_or("a row without columns")?.to_owned();
        let columns = names.iter().cloned().zip(line.iter().map(serde_json::Value::from)).collect();
        flights.push(Flight { id, columns });
    }
    Ok(flights)
}
