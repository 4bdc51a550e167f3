//! N-grams as numbers, which are looked up fast.

/// An n-gram of one to three characters: 21 bits a character.
pub type Gram = u64;

/// `gram` with `next` after it.
pub fn longer(gram: Gram, next: char) -> Gram {
    gram << 21 | u64::from(next)
}
