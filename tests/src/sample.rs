//! Figures of one thing in one unit, as benchmarks print them.

/// The figures, sorted.
#[derive(Clone, Debug)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Of these figures.
    pub fn new(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle; not a number when there is none.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The smallest and the largest.
    pub fn range(&self) -> String {
        let [min, max] = [self.0.first(), self.0.last()];
        let [min, max] = [min, max].map(|figure| shown(figure.copied().unwrap_or(f64::NAN)));
        format!("{min} to {max}")
    }
}

/// With three digits that matter, and no more than a clock has.
pub fn shown(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
