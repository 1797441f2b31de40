//! Amounts of resources: the API's quantities read, compared and written canonically.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::Quantity as Amount;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A map of resource names to amounts.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads an amount; `None` when it is malformed.
pub fn parse(quantity: &Quantity) -> Option<Amount> {
    Amount::parse(&quantity.0).ok()
}

/// Compares two amounts; `None` when one is malformed.
pub fn compare(a: &Quantity, b: &Quantity) -> Option<Ordering> {
    Some(parse(a)?.cmp(&parse(b)?))
}

/// Whether both are the same amount, however written.
pub fn equal(a: &Quantity, b: &Quantity) -> bool {
    a == b || compare(a, b) == Some(Ordering::Equal)
}

/// The canonical form (`1000m` is `1`); what is malformed stays as it is.
pub fn canonical(quantity: &Quantity) -> String {
    machinery::quantity::canonical(&quantity.0).unwrap_or_else(|_| quantity.0.clone())
}

/// Writes every amount canonically, rounded up to thousandths: finer ones cannot be enforced.
pub fn normalize(amounts: &mut Amounts) {
    for quantity in amounts.values_mut() {
        if let Some(amount) = parse(quantity) {
            quantity.0 = amount.round_up_milli().to_string();
        }
    }
}

/// Writes every amount canonically.
pub fn normalize_all<'a>(maps: impl IntoIterator<Item = &'a mut Option<Amounts>>) {
    maps.into_iter().flatten().for_each(normalize);
}

/// Whether the amount is negative.
pub fn is_negative(amount: &Amount) -> bool {
    amount.sign() < 0
}

/// Whether the amount has no fraction.
pub fn is_integer(amount: &Amount) -> bool {
    amount.milli_value() % 1000 == 0
}
