//! `PyTorch`'s pickles as data: a subset of the pickle machine that builds values and calls nothing.
//!
//! Values stand in an arena and refer to each other by number, so that nothing nests on this program's stack
//! however deep a hostile file nests; an instruction makes at most one value, so memory is bounded by the
//! length of the file.

use std::collections::HashMap;

/// Number of a value in the arena.
pub(crate) type Id = usize;

/// A value. What a pickle would call is kept as what it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name in a module.
    Global(String),
    /// What the archive keeps elsewhere: its storages.
    Persistent(Id),
    /// A call that is not made: callable and arguments, and the state set afterwards.
    Call {
        callable: Id,
        arguments: Id,
        state: Option<Id>,
    },
}

/// What a pickle says.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<Value>,
    pub(crate) root: Id,
}

impl Pickle {
    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(crate) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => items.iter().map(|&item| self.size(item)).collect(),
            _ => None,
        }
    }
}

/// Reads a pickle of protocol 2 to 5.
pub(crate) fn parse(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    machine
        .run()
        .map_err(|problem| format!("byte {}: {problem}", machine.at))
        .map(|root| Pickle { values: std::mem::take(&mut machine.values), root })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end
            .ok_or_else(|| format!("{count} bytes are asked for, {} are left", self.bytes.len() - self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        Ok(self.take(count)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, count: usize) -> Result<usize, String> {
        let length = self.number(count)?;
        usize::try_from(length).map_err(|_| format!("a length of {length}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("a line without end")?;
        let line = String::from_utf8_lossy(self.take(end + 1)?.trim_ascii_end()).into_owned();
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("nothing is on the stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "nothing is on the stack".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "nothing is on the stack".to_owned())
    }

    fn to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or_else(|| format!("nothing is remembered as {key}"))?;
        self.stack.push(id);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.values[list] {
            Value::List(list) => list.extend(items),
            // Other containers are of no interest here.
            Value::Call { .. } => {}
            other => return Err(format!("items for {other:?}")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), String> {
        let dict = self.top()?;
        if !items.len().is_multiple_of(2) {
            return Err("a key without value".to_owned());
        }
        match &mut self.values[dict] {
            Value::Dict(dict) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Value::Call { .. } => {}
            other => return Err(format!("keys for {other:?}")),
        }
        Ok(())
    }

    /// An ordered dictionary is a dictionary; any other call stays as it is said.
    fn call(&mut self, callable: Id, arguments: Id) {
        let ordered =
            matches!(&self.values[callable], Value::Global(name) if name == "collections.OrderedDict");
        self.push(if ordered {
            Value::Dict(Vec::new())
        } else {
            Value::Call { callable, arguments, state: None }
        });
    }

    #[expect(clippy::too_many_lines, reason = "the table of instructions, one arm each")]
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let instruction = self.take(1)?[0];
            match instruction {
                b'.' => return self.pop(),
                0x80 => {
                    self.take(1)?;
                }
                0x95 => {
                    self.take(8)?;
                }
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.to_mark()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'K' => {
                    let number = self.number(1)?;
                    self.push(Value::Int(number as i64));
                }
                b'M' => {
                    let number = self.number(2)?;
                    self.push(Value::Int(number as i64));
                }
                b'J' => {
                    let number = self.number(4)? as u32;
                    self.push(Value::Int(i64::from(number as i32)));
                }
                0x8a => {
                    let length = self.length(1)?;
                    let bytes = self.take(length)?;
                    let value = match length {
                        0 => Value::Int(0),
                        1..=8 => {
                            let filled = if bytes[length - 1] >= 0x80 { 0xff } else { 0 };
                            let mut buffer = [filled; 8];
                            buffer[..length].copy_from_slice(bytes);
                            Value::Int(i64::from_le_bytes(buffer))
                        }
                        // Larger than any size here; seeds and hashes.
                        _ => Value::Bytes,
                    };
                    self.push(value);
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Float);
                }
                b'X' => {
                    let length = self.length(4)?;
                    self.text(length)?;
                }
                0x8c => {
                    let length = self.length(1)?;
                    self.text(length)?;
                }
                0x8d => {
                    let length = self.length(8)?;
                    self.text(length)?;
                }
                b'U' | b'C' => {
                    let length = self.length(1)?;
                    self.take(length)?;
                    self.push(Value::Bytes);
                }
                b'T' | b'B' => {
                    let length = self.length(4)?;
                    self.take(length)?;
                    self.push(Value::Bytes);
                }
                b')' => self.push(Value::Tuple(Vec::new())),
                b'}' => self.push(Value::Dict(Vec::new())),
                b']' => self.push(Value::List(Vec::new())),
                0x8f => self.push(Value::List(Vec::new())),
                0x85..=0x87 => {
                    let count = usize::from(instruction - 0x84);
                    let mut items = Vec::with_capacity(count);
                    for _ in 0..count {
                        items.push(self.pop()?);
                    }
                    items.reverse();
                    self.push(Value::Tuple(items));
                }
                b't' => {
                    let items = self.to_mark()?;
                    self.push(Value::Tuple(items));
                }
                b'l' => {
                    let items = self.to_mark()?;
                    self.push(Value::List(items));
                }
                b'd' => {
                    let items = self.to_mark()?;
                    self.push(Value::Dict(Vec::new()));
                    self.extend_dict(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend_list(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.to_mark()?;
                    self.extend_list(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.extend_dict(&[key, value])?;
                }
                b'u' => {
                    let items = self.to_mark()?;
                    self.extend_dict(&items)?;
                }
                b'q' => {
                    let key = self.number(1)?;
                    self.remember(key)?;
                }
                b'r' => {
                    let key = self.number(4)?;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let key = self.number(1)?;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.number(4)?;
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(format!("{module}.{name}")));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name])
                    else {
                        return Err("a name that is no text".to_owned());
                    };
                    let global = Value::Global(format!("{module}.{name}"));
                    self.push(global);
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Persistent(id));
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    self.call(callable, arguments);
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    // An ordered dictionary's attributes (`_metadata`) are of no interest.
                    if let Value::Call { state: slot, .. } = &mut self.values[object] {
                        *slot = Some(state);
                    }
                }
                other => {
                    return Err(format!("instruction {other:#04x} is none that PyTorch writes for weights"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_of_a_tuple_is_read() {
        // {"a": (1, -2, None)} as Python's pickle writes it with protocol 2.
        let bytes = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffN\x87q\x02s.";
        let pickle = parse(bytes).expect("is read");
        let Value::Dict(entries) = pickle.get(pickle.root) else { panic!("is a dictionary") };
        assert_eq!(pickle.text(entries[0].0), Some("a"));
        let Value::Tuple(items) = pickle.get(entries[0].1) else { panic!("is a tuple") };
        let items: Vec<_> = items.iter().map(|&item| pickle.get(item).clone()).collect();
        assert_eq!(items, [Value::Int(1), Value::Int(-2), Value::None]);
    }

    #[test]
    fn a_call_is_kept_and_not_made() {
        let pickle = parse(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").expect("is read");
        let Value::Call { callable, .. } = pickle.get(pickle.root) else { panic!("is a call") };
        assert_eq!(*pickle.get(*callable), Value::Global("os.system".to_owned()));
    }

    #[test]
    fn damage_is_an_error_and_depth_is_no_danger() {
        let whole = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffN\x87q\x02s.";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut to {cut}");
        }
        for place in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.to_vec();
                changed[place] = byte;
                // Either is fine; neither may panic.
                let _ = parse(&changed);
            }
        }
        let mut deep = vec![b'N'];
        deep.extend([0x85; 1_000_000]);
        deep.push(b'.');
        assert!(parse(&deep).is_ok());
        assert!(parse(b"X\xff\xff\xff\xff.").expect_err("is cut off").contains("are asked for"));
    }
}
