//! The values of settings, borrowed from the bytes of the file.

/// One value. Integers of all widths are widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
    /// A float of 32 bits.
    Single(f32),
    /// A float of 64 bits.
    Double(f64),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(&'a str),
    /// Values of one type.
    Array(Array<'a>),
}

impl Value<'_> {
    /// The integer, where it is one and not negative.
    #[must_use]
    pub fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(v) => Some(*v),
            Self::Signed(v) => u64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// The number that was meant, where it is a float: of a single, the shortest decimal that names it. The single
    /// next to 0.1 is therefore 0.1, as it stands in the JSON from which such files are made.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Single(v) => v.to_string().parse().ok(),
            Self::Double(v) => Some(*v),
            _ => None,
        }
    }
}

/// Values of one type, each looked at when it is asked for. That they lie in the file was checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    pub(super) kind: Kind,
    pub(super) count: usize,
    /// All elements.
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements as texts; `None` where they are something else. A text that is no UTF-8 is an `Err` with its bytes.
    pub fn texts(&self) -> Option<impl Iterator<Item = Result<&'a str, &'a [u8]>> + use<'a>> {
        let mut rest = (self.kind == Kind::Text).then_some(self.bytes)?;
        Some(std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<8>()?;
            let (text, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some(std::str::from_utf8(text).map_err(|_| text))
        }))
    }

    /// The elements as integers; `None` where they are something else. One that does not fit 64 signed bits is the
    /// greatest that does.
    pub fn integers(&self) -> Option<impl Iterator<Item = i64> + use<'a>> {
        let (kind, size) = (self.kind, self.kind.size().filter(|_| self.kind.is_integer())?);
        Some(self.bytes.chunks_exact(size).map(move |bytes| match kind.scalar(bytes) {
            Some(Value::Unsigned(v)) => i64::try_from(v).unwrap_or(i64::MAX),
            Some(Value::Signed(v)) => v,
            _ => 0,
        }))
    }

    /// The elements as singles; `None` where they are something else.
    pub fn singles(&self) -> Option<impl Iterator<Item = f32> + use<'a>> {
        let (values, _) = (self.kind == Kind::Single).then_some(self.bytes)?.as_chunks::<4>();
        Some(values.iter().map(|bytes| f32::from_le_bytes(*bytes)))
    }
}

/// The types by their numbers in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    Single,
    Flag,
    Text,
    Array,
    U64,
    I64,
    Double,
}

impl Kind {
    pub(super) fn of(number: u32) -> Option<Self> {
        let number = usize::try_from(number).ok()?;
        KINDS.get(number).copied()
    }

    pub(super) fn number(self) -> u32 {
        KINDS.into_iter().zip(0..).find(|(kind, _)| *kind == self).map_or(0, |(_, number)| number)
    }

    /// Bytes of one value; `None` where that differs from value to value.
    pub(super) const fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Flag => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::Single => Some(4),
            Self::U64 | Self::I64 | Self::Double => Some(8),
            Self::Text | Self::Array => None,
        }
    }

    /// The fewest bytes of one value.
    pub(super) const fn least(self) -> usize {
        match self.size() {
            Some(size) => size,
            None if matches!(self, Self::Array) => 12,
            None => 8,
        }
    }

    const fn is_integer(self) -> bool {
        !matches!(self, Self::Single | Self::Double | Self::Flag | Self::Text | Self::Array)
    }

    /// The value in exactly as many bytes as it has; `None` where they are none of this type.
    pub(super) fn scalar(self, bytes: &[u8]) -> Option<Value<'static>> {
        let value = match self {
            Self::U8 => Value::Unsigned(u8::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I8 => Value::Signed(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U16 => Value::Unsigned(u16::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I16 => Value::Signed(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U32 => Value::Unsigned(u32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I32 => Value::Signed(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U64 => Value::Unsigned(u64::from_le_bytes(bytes.try_into().ok()?)),
            Self::I64 => Value::Signed(i64::from_le_bytes(bytes.try_into().ok()?)),
            Self::Single => Value::Single(f32::from_le_bytes(bytes.try_into().ok()?)),
            Self::Double => Value::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
            Self::Flag => match bytes {
                [0] => Value::Flag(false),
                [1] => Value::Flag(true),
                _ => return None,
            },
            Self::Text | Self::Array => return None,
        };
        Some(value)
    }
}

const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::Single,
    Kind::Flag,
    Kind::Text,
    Kind::Array,
    Kind::U64,
    Kind::I64,
    Kind::Double,
];
