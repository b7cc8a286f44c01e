//! Sequences that are texts: each letter becomes its place in the alphabet.

use forecastd_models::dasha::samples::NO_SYMBOL;

/// Of all letters of a file, the part that may be none of the alphabet's.
const MAX_UNKNOWN: f64 = 0.01;

/// The places of letters in an alphabet, whatever the case.
#[derive(Clone, Debug)]
pub(super) struct Letters {
    alphabet: String,
    places: [u8; 256],
}

/// What was seen of a file's sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Letters of the longest.
    pub(super) longest: u32,
    letters: u64,
    pub(super) unknown: u64,
    /// The first row with an unknown letter, and the letter.
    first_unknown: Option<(u64, char)>,
}

impl Letters {
    pub(super) fn new(alphabet: &str) -> Result<Self, String> {
        let mut places = [NO_SYMBOL; 256];
        if alphabet.is_empty() {
            return Err("--alphabet is empty".to_owned());
        }
        for (place, letter) in alphabet.bytes().enumerate() {
            if !letter.is_ascii_graphic() {
                return Err(format!("--alphabet {alphabet:?}: letters are plain ASCII"));
            }
            for letter in [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()] {
                let taken = &mut places[usize::from(letter)];
                if *taken != NO_SYMBOL && usize::from(*taken) != place {
                    let letter = char::from(letter);
                    return Err(format!("--alphabet {alphabet:?}: {letter:?} stands in it twice"));
                }
                *taken = place as u8;
            }
        }
        Ok(Self {
            alphabet: alphabet.to_owned(),
            places,
        })
    }

    pub(super) fn alphabet(&self) -> &str {
        &self.alphabet
    }

    /// Counts one sequence; none is empty.
    pub(super) fn see(&self, row: u64, sequence: Option<&str>, seen: &mut Seen) -> Result<(), String> {
        let sequence = sequence
            .filter(|sequence| !sequence.is_empty())
            .ok_or("an empty sequence")?;
        let letters = u32::try_from(sequence.chars().count()).map_err(|_| "too long")?;
        seen.longest = seen.longest.max(letters);
        seen.letters += u64::from(letters);
        for letter in sequence.chars().filter(|letter| self.place(*letter) == NO_SYMBOL) {
            seen.unknown += 1;
            seen.first_unknown.get_or_insert((row, letter));
        }
        Ok(())
    }

    /// Refuses a file whose sequences are of other letters; the row with the first of them.
    pub(super) fn check(&self, seen: &Seen) -> Result<(), (u64, String)> {
        let share = seen.unknown as f64 / seen.letters.max(1) as f64;
        match seen.first_unknown {
            Some((row, letter)) if share > MAX_UNKNOWN => {
                let (percent, most, alphabet) = (100.0 * share, 100.0 * MAX_UNKNOWN, &self.alphabet);
                Err((
                    row,
                    format!(
                        "letter {letter:?} is not in the alphabet {alphabet}; {percent:.1} % of the file's letters \
                         are not, and at most {most} % may: give --alphabet"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Writes one sequence, filled up to `length`.
    pub(super) fn write(&self, sequence: &str, length: u32, out: &mut Vec<u8>) -> Result<u32, String> {
        let start = out.len();
        out.extend(sequence.chars().map(|letter| self.place(letter)));
        let found = out.len() - start;
        if found > length as usize {
            return Err(format!("{found} letters; at most {length} are taken"));
        }
        out.resize(start + length as usize, NO_SYMBOL);
        Ok(found as u32)
    }

    fn place(&self, letter: char) -> u8 {
        u8::try_from(letter).map_or(NO_SYMBOL, |letter| self.places[usize::from(letter)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_places_whatever_the_case() {
        let letters = Letters::new("ACGTN").expect("an alphabet");
        let mut out = Vec::new();
        assert_eq!(letters.write("acGTNR", 8, &mut out), Ok(6));
        assert_eq!(out, [0, 1, 2, 3, 4, NO_SYMBOL, NO_SYMBOL, NO_SYMBOL]);
        assert!(
            letters
                .write("ACG", 2, &mut out)
                .expect_err("too long")
                .contains("3 letters; at most 2")
        );
    }

    #[test]
    fn a_few_unknown_letters_are_counted_and_many_refused() {
        let letters = Letters::new("ACGT").expect("an alphabet");
        let mut seen = Seen::default();
        letters.see(0, Some(&"A".repeat(99)), &mut seen).expect("not empty");
        letters.see(1, Some("N"), &mut seen).expect("not empty");
        assert_eq!((seen.longest, seen.unknown), (99, 1));
        assert_eq!(letters.check(&seen), Ok(()));
        letters.see(2, Some("ANX"), &mut seen).expect("not empty");
        let (row, detail) = letters.check(&seen).expect_err("too many");
        assert!(
            row == 1 && detail.contains("'N'") && detail.contains("2.9 %"),
            "{detail}"
        );
        assert!(letters.see(3, Some(""), &mut seen).is_err() && letters.see(3, None, &mut seen).is_err());
    }

    #[test]
    fn an_alphabet_that_is_none_is_told() {
        for (alphabet, words) in [("", "empty"), ("ACa", "twice"), ("AÄ", "ASCII")] {
            assert!(
                Letters::new(alphabet).expect_err("no alphabet").contains(words),
                "{alphabet}"
            );
        }
    }
}
