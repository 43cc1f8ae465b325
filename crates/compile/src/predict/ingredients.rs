//! In: operators and types, as wasmparser reads them. Out: their names and sets of them. An operator that the table of
//! wasmparser lacks is [`UNKNOWN`], which no row of measurements excuses.

use serde::Deserialize;
use std::fmt;
use wasmparser::Operator;

macro_rules! ingredients {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident (arity $($arity:tt)*) )*) => {
        /// The operators by number.
        #[derive(Clone, Copy)]
        #[repr(u16)]
        enum Number { $($op,)* Count }

        const OPERATORS: [(&str, &str); Number::Count as usize] = [$((stringify!($op), stringify!($proposal))),*];

        fn number(operator: &Operator<'_>) -> u16 {
            match operator {
                $(Operator::$op { .. } => Number::$op as u16,)*
                _ => UNKNOWN.0,
            }
        }
    };
}
wasmparser::for_each_operator!(ingredients);

/// What follows the operators: the types whose values code generation moves about by itself, and constants that some
/// instruction sets have a form for.
const OTHERS: [&str; 7] =
    ["type i32", "type i64", "type f32", "type f64", "type v128", "type reference", "constant of 16 bits"];

const fn other(index: u16) -> Ingredient {
    Ingredient(Number::Count as u16 + index)
}

pub(super) const I32: Ingredient = other(0);
pub(super) const I64: Ingredient = other(1);
pub(super) const F32: Ingredient = other(2);
pub(super) const F64: Ingredient = other(3);
pub(super) const V128: Ingredient = other(4);
pub(super) const REFERENCE: Ingredient = other(5);

/// A floating-point or vector constant whose bits, as one number, fit in 16: subnormal, and not zero.
pub(super) const NARROW_CONSTANT: Ingredient = other(6);

/// An operator that was never measured.
pub(super) const UNKNOWN: Ingredient = other(OTHERS.len() as u16);

const COUNT: usize = UNKNOWN.0 as usize + 1;

/// Something that a function is made of: an operator, or a type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ingredient(u16);

impl Ingredient {
    pub(super) fn of(operator: &Operator<'_>) -> Ingredient {
        Ingredient(number(operator))
    }

    pub(super) fn named(name: &str) -> Option<Ingredient> {
        Ingredient::all().find(|ingredient| ingredient.name() == name)
    }

    /// wasmparser's name of the operator, `I32Add`.
    pub(super) fn name(self) -> &'static str {
        let index = usize::from(self.0);
        let others = || OTHERS.get(index - OPERATORS.len()).copied().unwrap_or("an unknown operator");
        OPERATORS.get(index).map_or_else(others, |(name, _)| name)
    }

    /// The proposal that brought the operator, as wasmparser spells it; none for a type.
    pub(super) fn proposal(self) -> Option<&'static str> {
        OPERATORS.get(usize::from(self.0)).map(|(_, proposal)| *proposal)
    }

    /// Every operator and type, without [`UNKNOWN`].
    pub(super) fn all() -> impl Iterator<Item = Ingredient> {
        (0..UNKNOWN.0).map(Ingredient)
    }

    /// The type of floating-point or vector values that the operator works on, whatever else the function has.
    pub(super) fn implied_type(self) -> Option<Ingredient> {
        match self.proposal()? {
            "simd" | "relaxed_simd" => Some(V128),
            _ if self.name().contains("F64") => Some(F64),
            _ if self.name().contains("F32") => Some(F32),
            _ => None,
        }
    }
}

/// A set of ingredients.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Ingredients([u64; COUNT.div_ceil(64)]);

impl Ingredients {
    pub(super) fn insert(&mut self, Ingredient(number): Ingredient) {
        self.0[usize::from(number / 64)] |= 1 << (number % 64);
    }

    pub(super) fn contains(&self, Ingredient(number): Ingredient) -> bool {
        self.0[usize::from(number / 64)] & (1 << (number % 64)) != 0
    }

    pub(super) fn add(&mut self, others: &Ingredients) {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn includes(&self, others: &Ingredients) -> bool {
        self.0.iter().zip(others.0).all(|(word, other)| word & other == other)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Ingredient> {
        (0..COUNT as u16).map(Ingredient).filter(|ingredient| self.contains(*ingredient))
    }
}

impl FromIterator<Ingredient> for Ingredients {
    fn from_iter<I: IntoIterator<Item = Ingredient>>(ingredients: I) -> Ingredients {
        let mut set = Ingredients::default();
        ingredients.into_iter().for_each(|ingredient| set.insert(ingredient));
        set
    }
}

/// The table's name for the empty set, which is part of every function.
pub(super) const EVERY_FUNCTION: &str = "every function";

impl fmt::Display for Ingredients {
    /// `I32And + I32Xor`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Ingredient::name).collect();
        f.write_str(if names.is_empty() { EVERY_FUNCTION.to_owned() } else { names.join(" + ") }.as_str())
    }
}

impl fmt::Debug for Ingredients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Ingredients {
    type Error = String;

    fn try_from(text: String) -> Result<Ingredients, String> {
        if text == EVERY_FUNCTION {
            return Ok(Ingredients::default());
        }
        text.split(" + ").map(|name| Ingredient::named(name).ok_or_else(|| format!("no operator {name:?}"))).collect()
    }
}
