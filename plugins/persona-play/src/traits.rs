//! Traits of character that colour a dialogue.

use obvert_api::prompt::Language;
use obvert_api::record::{Session, id_of};

/// The line of a prompt that names so many traits, drawn for the dialogue; nothing for none.
pub(crate) fn traits_of(session: &Session, count: usize, seed: u64, language: Language) -> String {
    let mut all: Vec<&str> = list(language).collect();
    let seed = seed.to_string();
    all.sort_by_cached_key(|name| id_of(&["trait", name, &session.dialogue, &seed]));
    all.truncate(count);
    if all.is_empty() {
        return String::new();
    }
    let line = [include_str!("../prompts/traits.en.txt"), include_str!("../prompts/traits.zh.txt")];
    language.fill(line, &[("traits", &all.join(language.pick(", ", "、")))]) + "\n"
}

/// 180 traits, one a line.
fn list(language: Language) -> impl Iterator<Item = &'static str> {
    language.pick(include_str!("../prompts/list.en.txt"), include_str!("../prompts/list.zh.txt")).lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_180_traits_in_each_language_and_none_twice() {
        for language in [Language::En, Language::Zh] {
            let all: std::collections::BTreeSet<&str> = list(language).collect();
            assert_eq!((all.len(), list(language).count()), (180, 180));
        }
    }
}
