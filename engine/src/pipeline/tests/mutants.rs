//! Damaged copies of a sound file: whatever happens to it, the check neither panics nor points outside the file.

use super::{GOOD, check};

const COPIES: u64 = 1000;

/// The xorshift64* generator (Vigna, 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const CHARACTERS: [char; 16] = ['"', '[', ']', '{', '}', '=', '.', '#', '\n', '\r', '\t', 'é', '漢', '\0', '-', '9'];
const VALUES: [&str; 10] = ["3", "-1.5", "true", "\"x\"", "[]", "{}", "1979-05-27", "nan", "[\"play\"]", "'''"];

fn mutate_characters(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let (at, other) = (random.below(chars.len()), random.below(chars.len()));
    match random.below(4) {
        0 => chars.insert(at, random.pick(&CHARACTERS)),
        1 => drop(chars.remove(at)),
        2 => chars.swap(at, other),
        _ => chars[at] = random.pick(&CHARACTERS),
    }
    chars.into_iter().collect()
}

fn mutate_lines(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(4) {
        0 => lines.insert(at, lines[other].clone()),
        1 => drop(lines.remove(at)),
        2 => lines.swap(at, other),
        _ => {
            let key = lines[at].split('=').next().unwrap_or_default().to_owned();
            lines[at] = format!("{key}= {}", random.pick(&VALUES));
        }
    }
    lines.join("\n")
}

fn mutant(seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut text = GOOD.to_owned();
    for _ in 0..=random.below(4) {
        text =
            if random.below(2) == 0 { mutate_lines(&text, &mut random) } else { mutate_characters(&text, &mut random) };
    }
    text
}

/// Checks a file and returns how many errors were reported.
fn report_lies_within(text: &str) -> usize {
    let Err(report) = check(text, &[]) else {
        return 0;
    };
    let rendered = report.to_string();
    for error in report.errors() {
        let location = error.location.as_ref().unwrap_or_else(|| panic!("no location: {error:?}\n{text}"));
        let line = text.split('\n').nth(location.line - 1);
        let length = line.unwrap_or_else(|| panic!("{location:?} outside of\n{text}")).chars().count();
        assert!(location.column <= length + 1, "{location:?} outside of\n{text}");
        let shown = format!("--> /pipelines/p.toml:{}:{}", location.line, location.column);
        assert!(rendered.contains(&shown), "{shown} not in\n{rendered}\nof\n{text}");
    }
    report.errors().len()
}

#[test]
fn damaged_files_are_reported_within_the_file() {
    let broken = (0..COPIES).filter(|seed| report_lies_within(&mutant(*seed)) > 0).count();
    assert!(broken > COPIES as usize / 2, "only {broken} of {COPIES} copies were found broken");
}

#[test]
fn odd_files_are_reported_within_the_file() {
    let deep_array = format!("name = {}", "[".repeat(10_000));
    let deep_key = format!("{}x = 1", "a.".repeat(10_000));
    let deep_setting = format!("{GOOD}\n[stage.x]\ntype = \"sink\"\n{}x = 1", "a.".repeat(1_000));
    let odd = [
        "name = '''\n",
        "",
        "\n",
        "\r\n",
        "\u{feff}",
        "=",
        "[",
        "[[",
        "[stage",
        "\"",
        "name",
        "stage = 1",
        "[[stage]]",
        "漢 = \n",
    ];
    for text in odd.into_iter().chain([deep_array.as_str(), &deep_key, &deep_setting]) {
        assert!(report_lies_within(text) > 0, "no error in {text:?}");
    }
}
