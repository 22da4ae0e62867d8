//! Histories as text, in the form that Jepsen's checker Elle reads: one map a line, in extensible data notation (EDN).
//!
//! ```text
//! {:index 0, :time 5161, :process 2, :type :invoke, :f :txn, :value [[:append 8 3] [:r 4 nil]]}
//! {:index 1, :time 9025, :process 2, :type :ok, :f :txn, :value [[:append 8 3] [:r 4 [1 2]]]}
//! ```

use std::collections::HashMap;
use std::fmt::Write;

use super::history::{Event, History, Kind, Step};

/// The history as text.
#[must_use]
pub fn print(history: &History) -> String {
    let mut text = String::new();
    for (index, event) in history.events.iter().enumerate() {
        let kind = match event.kind {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        let (time, process, steps) = (event.time_ns, event.process, print_steps(&event.steps));
        let head = format!("{{:index {index}, :time {time}, :process {process}, :type :{kind}");
        _ = writeln!(text, "{head}, :f :txn, :value {steps}}}");
    }
    text
}

/// The steps of a transaction as text.
#[must_use]
pub fn print_steps(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Append(key, element) => format!("[:append {key} {element}]"),
        Step::Read(key, None) => format!("[:r {key} nil]"),
        Step::Read(key, Some(list)) => {
            let list: Vec<String> = list.iter().map(u64::to_string).collect();
            format!("[:r {key} [{}]]", list.join(" "))
        }
    };
    format!("[{}]", steps.iter().map(step).collect::<Vec<_>>().join(" "))
}

/// The history that `text` tells. `:index` and `:time` may be left out; the order of the lines counts.
///
/// # Errors
/// Where `text` is not a history of transactions on lists.
pub fn parse(text: &str) -> Result<History, String> {
    let mut reader = Reader { text: text.as_bytes(), at: 0 };
    let mut events = Vec::new();
    while let Some(value) = reader.value()? {
        let Value::Map(map) = value else { return Err("an event is a map".to_owned()) };
        events.push(event(&map).ok_or_else(|| format!("event {} is none that is known", events.len()))?);
    }
    Ok(History { events })
}

fn event(map: &HashMap<String, Value>) -> Option<Event> {
    let Value::Keyword(kind) = map.get("type")? else { return None };
    let kind = match kind.as_str() {
        "invoke" => Kind::Invoke,
        "ok" => Kind::Ok,
        "fail" => Kind::Fail,
        "info" => Kind::Info,
        _ => return None,
    };
    let process = map.get("process").and_then(Value::number)?;
    let time_ns = map.get("time").and_then(Value::number).unwrap_or_default();
    let steps = map.get("value")?.list()?.iter().map(step).collect::<Option<_>>()?;
    Some(Event { time_ns, process, kind, steps })
}

fn step(value: &Value) -> Option<Step> {
    let [Value::Keyword(name), key, argument] = value.list()? else { return None };
    let key = key.number()?;
    match (name.as_str(), argument) {
        ("append", element) => Some(Step::Append(key, element.number()?)),
        ("r", Value::Nil) => Some(Step::Read(key, None)),
        ("r", list) => {
            Some(Step::Read(key, Some(list.list()?.iter().map(Value::number).collect::<Option<_>>()?)))
        }
        _ => None,
    }
}

/// The part of EDN that histories need.
enum Value {
    Nil,
    Number(u64),
    Keyword(String),
    List(Vec<Value>),
    Map(HashMap<String, Value>),
}

impl Value {
    fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    fn list(&self) -> Option<&[Value]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next value, or `None` at the end of the text or of what it stands in.
    fn value(&mut self) -> Result<Option<Value>, String> {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace() || byte == b',') {
            self.at += 1;
        }
        let value = match self.peek() {
            None | Some(b']' | b'}') => return Ok(None),
            Some(b'[') => Value::List(self.until(b']')?),
            Some(b'{') => Value::Map(self.map()?),
            Some(b':') => {
                self.at += 1;
                Value::Keyword(self.word())
            }
            Some(_) => match self.word().as_str() {
                "nil" => Value::Nil,
                word => Value::Number(word.parse().map_err(|_| format!("byte {}: {word:?}", self.at))?),
            },
        };
        Ok(Some(value))
    }

    fn map(&mut self) -> Result<HashMap<String, Value>, String> {
        let mut map = HashMap::new();
        let mut values = self.until(b'}')?.into_iter();
        while let Some(name) = values.next() {
            let (Value::Keyword(name), Some(value)) = (name, values.next()) else {
                return Err(format!("byte {}: a map has keywords and values", self.at));
            };
            map.insert(name, value);
        }
        Ok(map)
    }

    fn until(&mut self, end: u8) -> Result<Vec<Value>, String> {
        self.at += 1;
        let mut values = Vec::new();
        while let Some(value) = self.value()? {
            values.push(value);
        }
        if self.peek() != Some(end) {
            return Err(format!("byte {}: {:?} is missing", self.at, end as char));
        }
        self.at += 1;
        Ok(values)
    }

    fn word(&mut self) -> String {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/.+".contains(byte);
        let word: Vec<u8> = self.text[self.at..].iter().copied().take_while(is_word).collect();
        self.at += word.len();
        String::from_utf8_lossy(&word).into_owned()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_read_again() {
        let steps = vec![Step::Append(8, 3), Step::Read(4, None), Step::Read(5, Some(vec![1, 2]))];
        let kinds = [Kind::Invoke, Kind::Ok, Kind::Invoke, Kind::Fail, Kind::Invoke, Kind::Info];
        let event = |kind| Event { time_ns: 7, process: 1, kind, steps: steps.clone() };
        let history = History { events: kinds.map(event).to_vec() };
        let text = print(&history);
        assert!(
            text.starts_with(
                "{:index 0, :time 7, :process 1, :type :invoke, :f :txn, :value [[:append 8 3] "
            )
        );
        assert_eq!(parse(&text), Ok(history));
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let refused =
            ["[", "{:type :ok", "{:type}", "{:type :ok}", "7", "{:type :ok :process 1 :value [[:w 1 1]]}"];
        for text in refused {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
