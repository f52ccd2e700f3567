//! `ifGenerationMatch` and its three fellows.

use crate::params::Params;
use crate::problem::{Done, Problem};

/// What a call expects of the generation that it reads or replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preconditions {
    generation: Option<u64>,
    generation_not: Option<u64>,
    metageneration: Option<u64>,
    metageneration_not: Option<u64>,
}

/// The names of the parameters.
pub(crate) const NAMES: [&str; 4] = [
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
];

impl Preconditions {
    /// Takes them out of a query.
    pub(crate) fn take(params: &mut Params) -> Done<Self> {
        let [generation, generation_not, metageneration, metageneration_not] = NAMES;
        Ok(Self {
            generation: params.parsed(generation)?,
            generation_not: params.parsed(generation_not)?,
            metageneration: params.parsed(metageneration)?,
            metageneration_not: params.parsed(metageneration_not)?,
        })
    }

    /// Checks a read of this generation and metageneration: what has not changed is a 304.
    pub(crate) fn check_read(self, generation: u64, metageneration: u64) -> Done<()> {
        self.check_matches(generation, metageneration)?;
        let unchanged = self.generation_not == Some(generation)
            || self.metageneration_not == Some(metageneration);
        if unchanged { Err(Problem::not_modified()) } else { Ok(()) }
    }

    /// Checks a change of what is there, if anything is: generation 0 stands for nothing.
    pub(crate) fn check_change(self, generation: u64, metageneration: u64) -> Done<()> {
        self.check_matches(generation, metageneration)?;
        let nothing_there =
            generation == 0 && (self.generation_not.is_some() || self.metageneration_not.is_some());
        let unchanged = self.generation_not == Some(generation)
            || self.metageneration_not == Some(metageneration);
        if nothing_there || unchanged { Err(Problem::precondition()) } else { Ok(()) }
    }

    fn check_matches(self, generation: u64, metageneration: u64) -> Done<()> {
        let holds = self.generation.is_none_or(|expected| expected == generation)
            && self.metageneration.is_none_or(|expected| expected == metageneration);
        if holds { Ok(()) } else { Err(Problem::precondition()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(query: &str, check: impl Fn(Preconditions) -> Done<()>) -> u16 {
        let mut params = Params::parse(query).unwrap();
        let preconditions = Preconditions::take(&mut params).unwrap();
        params.finish().unwrap();
        check(preconditions).err().map_or(200, |problem| problem.status)
    }

    #[test]
    fn reads_that_find_no_change_are_told_so() {
        let read = |query: &str| status(query, |p| p.check_read(7, 2));
        assert_eq!(read(""), 200);
        assert_eq!(read("ifGenerationMatch=7&ifMetagenerationMatch=2"), 200);
        assert_eq!(read("ifGenerationMatch=8"), 412);
        assert_eq!(read("ifGenerationMatch=0"), 412);
        assert_eq!(read("ifMetagenerationMatch=1"), 412);
        assert_eq!(read("ifGenerationNotMatch=7"), 304);
        assert_eq!(read("ifGenerationNotMatch=6"), 200);
        assert_eq!(read("ifMetagenerationNotMatch=2"), 304);
        assert_eq!(read("ifGenerationMatch=8&ifGenerationNotMatch=7"), 412);
    }

    #[test]
    fn changes_find_what_they_expect_or_are_lost() {
        let change = |query: &str| status(query, |p| p.check_change(7, 2));
        assert_eq!(change("ifGenerationMatch=7"), 200);
        assert_eq!(change("ifGenerationMatch=0"), 412);
        assert_eq!(change("ifGenerationNotMatch=7"), 412);
        assert_eq!(change("ifGenerationNotMatch=0"), 200);
        let create = |query: &str| status(query, |p| p.check_change(0, 0));
        assert_eq!(create("ifGenerationMatch=0"), 200);
        assert_eq!(create("ifGenerationMatch=7"), 412);
        assert_eq!(create("ifGenerationNotMatch=0"), 412);
        assert_eq!(create("ifMetagenerationMatch=1"), 412);
    }
}
