//! The eight readings of a response under which IFEval's loose score accepts it.

use crate::python::strip;

/// The response itself, without its first line, without its last line and without both, each as
/// it is and without asterisks: each text once, so fewer than eight where some are alike. Some may be blank.
pub fn variants(response: &str) -> Vec<String> {
    let after_first = response.split_once('\n').map_or("", |(_, rest)| rest);
    let before_last = response.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let middle = after_first.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let readings = [response, strip(after_first), strip(before_last), strip(middle)];
    let mut variants = Vec::with_capacity(8);
    for variant in readings.iter().flat_map(|reading| [(*reading).to_owned(), reading.replace('*', "")]) {
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    variants
}
