//! Reads records: bincode 2's standard format (integers as varints, little-endian), from a slice.
//!
//! Its own reader zeroes memory for every text before it copies it there, which takes longer than all else.

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Why bytes are no record. Behind a pointer, so that what is read comes in registers: the reader does little else than to hand
/// results on.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "one pointer instead of three words")]
pub(crate) struct Damage(Box<String>);

/// No list is longer: a damaged length must not be believed.
const LONGEST: u64 = 1 << 28;

/// What is left to read.
pub(crate) struct Reader<'de>(pub(crate) &'de [u8]);

impl Damage {
    #[cold]
    fn new(cause: impl std::fmt::Display) -> Self {
        Damage(Box::new(cause.to_string()))
    }

    #[cold]
    fn early() -> Self {
        Damage::new("it ends early")
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Damage {}

impl serde::de::Error for Damage {
    fn custom<T: std::fmt::Display>(cause: T) -> Self {
        Damage::new(cause)
    }
}

impl<'de> Reader<'de> {
    #[inline]
    fn take(&mut self, length: usize) -> Result<&'de [u8], Damage> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(Damage::early)?;
        self.0 = tail;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(Damage::early)?;
        self.0 = tail;
        Ok(*head)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Damage> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    fn unsigned(&mut self) -> Result<u64, Damage> {
        match self.byte()? {
            byte @ ..=250 => Ok(byte.into()),
            byte => self.long(byte),
        }
    }

    /// A number of several bytes, behind the first one.
    fn long(&mut self, first: u8) -> Result<u64, Damage> {
        match first {
            251 => self.array().map(|bytes| u16::from_le_bytes(bytes).into()),
            252 => self.array().map(|bytes| u32::from_le_bytes(bytes).into()),
            253 => self.array().map(u64::from_le_bytes),
            byte => Err(Damage::new(format_args!("a number begins with {byte}"))),
        }
    }

    #[inline]
    fn narrow<N: TryFrom<u64>>(&mut self) -> Result<N, Damage> {
        self.unsigned()?.try_into().map_err(|_| Damage::new("a number is too large"))
    }

    fn wide(&mut self) -> Result<u128, Damage> {
        match self.0.first() {
            Some(254) => {
                self.byte()?;
                self.array().map(u128::from_le_bytes)
            }
            _ => self.unsigned().map(u128::from),
        }
    }

    fn signed<N: TryFrom<i64>>(&mut self) -> Result<N, Damage> {
        let folded = self.unsigned()?;
        let signed = (folded >> 1) as i64 ^ -((folded & 1) as i64);
        signed.try_into().map_err(|_| Damage::new("a number is too large"))
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Damage> {
        let length = self.unsigned()?;
        if length <= LONGEST {
            Ok(length as usize)
        } else {
            Err(Damage::new(format_args!("a list claims to have {length} items")))
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'de [u8], Damage> {
        let length = self.length()?;
        self.take(length)
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, Damage> {
        simdutf8::basic::from_utf8(self.bytes()?).map_err(Damage::new)
    }

    #[inline]
    fn flag(&mut self) -> Result<bool, Damage> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(Damage::new(format_args!("a truth value is {byte}"))),
        }
    }

    fn letter(&mut self) -> Result<char, Damage> {
        let longer = self.0.first().map_or(0, |first| first.leading_ones().saturating_sub(1));
        let text = std::str::from_utf8(self.take(1 + longer as usize)?).map_err(Damage::new)?;
        text.chars().next().ok_or_else(|| Damage::new("no character"))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $read:ident),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
            visitor.$visit(self.$read()?)
        })+
    };
}

macro_rules! fixed {
    ($($method:ident $visit:ident $type:ty),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
            visitor.$visit(self.array().map(<$type>::from_le_bytes)?)
        })+
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Damage;

    numbers!(
        deserialize_bool visit_bool flag, deserialize_char visit_char letter,
        deserialize_u16 visit_u16 narrow, deserialize_u32 visit_u32 narrow, deserialize_u64 visit_u64 unsigned,
        deserialize_u128 visit_u128 wide,
        deserialize_i16 visit_i16 signed, deserialize_i32 visit_i32 signed, deserialize_i64 visit_i64 signed,
        deserialize_str visit_borrowed_str text, deserialize_string visit_borrowed_str text,
        deserialize_bytes visit_borrowed_bytes bytes, deserialize_byte_buf visit_borrowed_bytes bytes
    );
    fixed!(
        deserialize_u8 visit_u8 u8, deserialize_i8 visit_i8 i8,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        let folded = self.wide()?;
        visitor.visit_i128((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        if self.flag()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Damage> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Damage> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        let left = self.length()?;
        visitor.visit_seq(List { reader: self, left })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        let left = self.length()?;
        visitor.visit_map(List { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Damage> {
        visitor.visit_seq(List { reader: self, left })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damage> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damage> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Damage> {
        Err(Damage::new("the format does not say what comes: the type must"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Damage> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A list, a table or fields, of which so many are left.
struct List<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for List<'_, 'de> {
    type Error = Damage;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Damage> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for List<'_, 'de> {
    type Error = Damage;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Damage> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Damage> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = Damage;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Damage> {
        let variant: U32Deserializer<Damage> = self.narrow::<u32>()?.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Damage;

    fn unit_variant(self) -> Result<(), Damage> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Damage> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Damage> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Damage> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests;
