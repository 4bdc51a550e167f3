//! Packing: several pairs in one batch of rows, without padding, with each pair's prompt once.
//!
//! A [`Document`] is a prefix followed by branches. A row of the prefix attends to the prefix up to itself; a row
//! of a branch attends to the whole prefix and to its own branch up to itself. For a pair the prefix is the
//! prompt and the branches are the two responses, so the prompt is computed once, forward and backward, and the
//! result is the same as that of two separate sequences (prefix sharing, arXiv 2410.20305).
//! The last token of a response predicts nothing and gets no row. The first one is predicted by the last row of
//! the prompt, which therefore has two targets.

/// A prefix and the branches that continue it, in consecutive rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its first row in the batch.
    pub start: usize,
    /// Rows of the prefix.
    pub prefix: usize,
    /// Rows of each branch.
    pub branches: Vec<usize>,
}

impl Document {
    /// Rows of prefix and branches together.
    pub fn rows(&self) -> usize {
        self.prefix + self.branches.iter().sum::<usize>()
    }

    /// First row and length of every branch, relative to the document.
    pub fn branch_rows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.branches.iter().scan(self.prefix, |next, len| {
            let start = *next;
            *next += len;
            Some((start, *len))
        })
    }
}

/// A response token and the row whose output predicts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The predicting row.
    pub row: usize,
    /// The token.
    pub token: u32,
    /// The response it belongs to, in the order of packing.
    pub sequence: usize,
}

/// A batch of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    /// The token of every row.
    pub tokens: Vec<u32>,
    /// The position of every row in its sequence, from 0.
    pub positions: Vec<usize>,
    /// The documents, in consecutive rows.
    pub documents: Vec<Document>,
    /// The response tokens, sequence by sequence.
    pub targets: Vec<Target>,
    /// Number of responses.
    pub sequences: usize,
}

impl Pack {
    /// Adds a text without targets.
    pub fn push_text(&mut self, tokens: &[u32]) {
        self.push_document(tokens, &[]);
    }

    /// Adds a prompt, which must not be empty, and the responses that continue it. An empty response has no targets.
    pub fn push(&mut self, prompt: &[u32], responses: &[&[u32]]) {
        let start = self.tokens.len();
        let branches: Vec<&[u32]> =
            responses.iter().map(|tokens| tokens.split_last().map_or(&[][..], |(_, rest)| rest)).collect();
        self.push_document(prompt, &branches);
        let mut branch_start = start + prompt.len();
        for response in responses {
            for (index, token) in response.iter().enumerate() {
                let row = if index == 0 { start + prompt.len() - 1 } else { branch_start + index - 1 };
                self.targets.push(Target { row, token: *token, sequence: self.sequences });
            }
            self.sequences += 1;
            branch_start += response.len().saturating_sub(1);
        }
    }

    /// The longest position of any row, plus one.
    pub fn longest(&self) -> usize {
        self.positions.iter().max().map_or(0, |position| position + 1)
    }

    fn push_document(&mut self, prefix: &[u32], branches: &[&[u32]]) {
        self.documents.push(Document {
            start: self.tokens.len(),
            prefix: prefix.len(),
            branches: branches.iter().map(|branch| branch.len()).collect(),
        });
        self.tokens.extend_from_slice(prefix);
        self.positions.extend(0..prefix.len());
        for branch in branches {
            self.tokens.extend_from_slice(branch);
            self.positions.extend(prefix.len()..prefix.len() + branch.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shares_its_prompt() {
        let mut pack = Pack::default();
        pack.push_text(&[9]);
        pack.push(&[1, 2, 3], &[&[4, 5], &[], &[6]]);
        assert_eq!(pack.tokens, [9, 1, 2, 3, 4]);
        assert_eq!(pack.positions, [0, 0, 1, 2, 3]);
        assert_eq!(pack.documents[1], Document { start: 1, prefix: 3, branches: vec![1, 0, 0] });
        let targets: Vec<_> = pack.targets.iter().map(|t| (t.row, t.token, t.sequence)).collect();
        assert_eq!(targets, [(3, 4, 0), (4, 5, 0), (3, 6, 2)]);
    }
}
