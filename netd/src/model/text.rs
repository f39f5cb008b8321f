//! How does a value that a user writes as one word stand in JSON?
//!
//! As the same word: `#[serde(try_from = "String", into = "String")]`, and [`as_text`] for what that asks for.

/// Has each of the types, which are `FromStr` and `Display`, made of a `String` and made into one.
macro_rules! as_text {
    ($($kind:ty),+) => { $(
        impl TryFrom<String> for $kind {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }
    )+ };
}

pub(super) use as_text;
