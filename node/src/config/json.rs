//! Elements: JSON values that remember line and column.

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Which file, see [`Report::add_source`].
    pub(super) source: u16,
    /// From 1; 0 is nowhere.
    pub(super) line: u32,
    /// From 1.
    pub(super) column: u32,
}

impl Position {
    const NOWHERE: Position = Position { source: 0, line: 0, column: 0 };
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
    List(Vec<Element>),
    Map(Map),
}

/// Members in the order of the text; each key once.
#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Element,
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Element> {
        self.members.iter().find(|member| member.key == key).map(|member| &member.value)
    }
}

impl Element {
    pub(super) fn map(&self) -> Option<&Map> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    pub(super) fn list(&self) -> &[Element] {
        if let Value::List(list) = &self.value { list } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn int(&self) -> Option<i64> {
        if let Value::Int(int) = self.value { Some(int) } else { None }
    }

    /// A real number; whole numbers are welcome where one is expected.
    pub(super) fn real(&self) -> Option<f64> {
        match self.value {
            Value::Real(real) => Some(real),
            Value::Int(int) => Some(int as f64),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        if let Value::Bool(flag) = self.value { Some(flag) } else { None }
    }

    /// Kea's name of this kind of value in syntax errors.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Real(_) => "floating point",
            Value::Text(_) => "constant string",
            Value::List(_) => "[",
            Value::Map(_) => "{",
        }
    }

    /// A value without a place. Numbers that are no `i64` become reals.
    pub(super) fn from_json(json: &serde_json::Value) -> Element {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Value::Int(int),
                None => Value::Real(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(list) => Value::List(list.iter().map(Element::from_json).collect()),
            Json::Object(map) => {
                let member = |(key, value): (&String, &Json)| Member {
                    key: key.clone(),
                    at: Position::NOWHERE,
                    value: Element::from_json(value),
                };
                Value::Map(Map { members: map.iter().map(member).collect() })
            }
        };
        Element { at: Position::NOWHERE, value }
    }

    /// The value without positions, in place of it.
    pub(super) fn into_json(self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self.value {
            Value::Text(text) => Json::String(text),
            Value::List(list) => list.into_iter().map(Element::into_json).collect(),
            Value::Map(map) => {
                let member = |member: Member| (member.key, member.value.into_json());
                Json::Object(map.members.into_iter().map(member).collect())
            }
            _ => self.to_json(),
        }
    }

    /// The value without positions.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(int) => Json::from(*int),
            Value::Real(real) => Json::from(*real),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(list) => list.iter().map(Element::to_json).collect(),
            Value::Map(map) => Json::Object(
                map.members
                    .iter()
                    .map(|member| (member.key.clone(), member.value.to_json()))
                    .collect(),
            ),
        }
    }
}
