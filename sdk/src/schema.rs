//! JSON Schema, made while compiling: a component carries the description of its configuration in a section, which the host reads
//! without running it.
//!
//! **Invariant**: [`render`] writes valid JSON for every schema; it and [`rendered_len`] are one function with and without room.

/// The shape of a configuration value.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    Any,
    Boolean,
    Number,
    Text,
    Integer {
        min: i128,
        max: i128,
    },
    Choice {
        names: &'static [&'static str],
    },
    List {
        items: &'static Schema,
    },
    Map {
        values: &'static Schema,
    },
    Object {
        title: &'static str,
        description: &'static str,
        fields: &'static [Field],
    },
    /// One of several; what a component says that exports several kinds of rule.
    AnyOf {
        schemas: &'static [&'static Schema],
    },
}

/// A key of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub description: &'static str,
    pub required: bool,
    /// The default as JSON; empty when there is none to show.
    pub default: &'static str,
    /// An example as JSON; empty when there is none.
    pub example: &'static str,
    pub schema: &'static Schema,
}

/// What a component says that exports rules with these configurations.
pub const fn of_rules(schemas: &'static [&'static Schema]) -> Schema {
    match schemas {
        [only] => **only,
        several => Schema::AnyOf { schemas: several },
    }
}

/// The length of the JSON text of a schema.
pub const fn rendered_len(schema: &Schema) -> usize {
    let mut writer = Writer::<0>::new();
    writer.schema(schema);
    writer.len
}

/// The JSON text of a schema; `N` is its [`rendered_len`].
pub const fn render<const N: usize>(schema: &Schema) -> [u8; N] {
    let mut writer = Writer::<N>::new();
    writer.schema(schema);
    writer.bytes
}

/// The length of a JSON list of strings.
pub const fn names_len(names: &[&str]) -> usize {
    let mut writer = Writer::<0>::new();
    writer.names(names);
    writer.len
}

/// A JSON list of strings; `N` is its [`names_len`].
pub const fn names<const N: usize>(names: &[&str]) -> [u8; N] {
    let mut writer = Writer::<N>::new();
    writer.names(names);
    writer.bytes
}

/// A text as an array; `N` is its length.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut writer = Writer::<N>::new();
    writer.raw(text);
    writer.bytes
}

/// The JSON text of a schema, at run time; cut off at 64 KiB.
pub fn to_json(schema: &Schema) -> String {
    const MOST: usize = 1 << 16;
    let mut writer = Box::new(Writer::<MOST>::new());
    writer.schema(schema);
    String::from_utf8_lossy(&writer.bytes[..writer.len.min(MOST)]).into_owned()
}

/// Writes as far as there is room and counts on.
struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }

    const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        let mut at = 0;
        self.byte(b'"');
        while at < bytes.len() {
            match bytes[at] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                control @ 0..0x20 => {
                    self.raw("\\u00");
                    self.byte(HEX[(control >> 4) as usize]);
                    self.byte(HEX[(control & 15) as usize]);
                }
                other => self.byte(other),
            }
            at += 1;
        }
        self.byte(b'"');
    }

    const fn names(&mut self, names: &[&str]) {
        self.byte(b'[');
        let mut at = 0;
        while at < names.len() {
            self.comma_unless(at == 0);
            self.string(names[at]);
            at += 1;
        }
        self.byte(b']');
    }

    const fn integer(&mut self, number: i128) {
        if number < 0 {
            self.byte(b'-');
        }
        let number = number.unsigned_abs();
        let mut scale = 1;
        while number / scale >= 10 {
            scale *= 10;
        }
        while scale > 0 {
            self.byte(b'0' + (number / scale % 10) as u8);
            scale /= 10;
        }
    }

    const fn schema(&mut self, schema: &Schema) {
        self.byte(b'{');
        self.members(schema, true);
        self.byte(b'}');
    }

    /// The members of a schema object; a title and a description only where no field has given
    /// its own.
    const fn members(&mut self, schema: &Schema, described: bool) {
        match *schema {
            Schema::Any => {}
            Schema::Boolean => self.raw("\"type\":\"boolean\""),
            Schema::Number => self.raw("\"type\":\"number\""),
            Schema::Text => self.raw("\"type\":\"string\""),
            Schema::Integer { min, max } => {
                self.raw("\"type\":\"integer\",\"minimum\":");
                self.integer(min);
                self.raw(",\"maximum\":");
                self.integer(max);
            }
            Schema::Choice { names } => {
                self.raw("\"type\":\"string\",\"enum\":");
                self.names(names);
            }
            Schema::List { items } => {
                self.raw("\"type\":\"array\",\"items\":");
                self.schema(items);
            }
            Schema::Map { values } => {
                self.raw("\"type\":\"object\",\"additionalProperties\":");
                self.schema(values);
            }
            Schema::AnyOf { schemas } => {
                self.raw("\"anyOf\":[");
                let mut at = 0;
                while at < schemas.len() {
                    self.comma_unless(at == 0);
                    self.schema(schemas[at]);
                    at += 1;
                }
                self.byte(b']');
            }
            Schema::Object { title, description, fields } => {
                if described {
                    self.raw("\"title\":");
                    self.string(title);
                    self.byte(b',');
                    if !description.is_empty() {
                        self.raw("\"description\":");
                        self.string(description);
                        self.byte(b',');
                    }
                }
                self.object(fields);
            }
        }
    }

    const fn object(&mut self, fields: &[Field]) {
        self.raw("\"type\":\"object\",\"properties\":{");
        let mut at = 0;
        while at < fields.len() {
            self.comma_unless(at == 0);
            self.field(&fields[at]);
            at += 1;
        }
        self.raw("},\"required\":[");
        let (mut at, mut listed) = (0, 0);
        while at < fields.len() {
            if fields[at].required {
                self.comma_unless(listed == 0);
                self.string(fields[at].name);
                listed += 1;
            }
            at += 1;
        }
        self.raw("],\"additionalProperties\":false");
    }

    const fn field(&mut self, field: &Field) {
        let described = !field.description.is_empty();
        let mut first = true;
        self.string(field.name);
        self.raw(":{");
        if described {
            self.raw("\"description\":");
            self.string(field.description);
            first = false;
        }
        if !matches!(field.schema, Schema::Any) {
            self.comma_unless(first);
            self.members(field.schema, !described);
            first = false;
        }
        if !field.default.is_empty() {
            self.comma_unless(first);
            self.raw("\"default\":");
            self.raw(field.default);
            first = false;
        }
        if !field.example.is_empty() {
            self.comma_unless(first);
            self.raw("\"examples\":[");
            self.raw(field.example);
            self.byte(b']');
        }
        self.byte(b'}');
    }

    const fn comma_unless(&mut self, first: bool) {
        if !first {
            self.byte(b',');
        }
    }
}
