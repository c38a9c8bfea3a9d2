//! What was measured several times.

use serde_json::{Value, json};

/// The values of one figure.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// Adds a value; what is no number is left out.
    pub fn push(&mut self, value: f64) {
        if value.is_finite() {
            let at = self.values.partition_point(|other| *other <= value);
            self.values.insert(at, value);
        }
    }

    /// The smallest; none when there is no value, as with those below.
    pub fn min(&self) -> Option<f64> {
        self.values.first().copied()
    }

    /// The largest.
    pub fn max(&self) -> Option<f64> {
        self.values.last().copied()
    }

    /// The one in the middle, or the mean of the two there.
    pub fn median(&self) -> Option<f64> {
        let middle = self.values.len() / 2;
        let upper = *self.values.get(middle)?;
        match self.values.len() % 2 {
            0 => Some((self.values.get(middle - 1)? + upper) / 2.0),
            _ => Some(upper),
        }
    }

    /// Each value as a share of `whole`.
    pub fn shares(&self, whole: f64) -> Sample {
        let mut shares = Sample::default();
        self.values.iter().for_each(|value| shares.push(value / whole));
        shares
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `{ "min", "median", "max", "values" }`, or null.
    pub fn json(&self) -> Value {
        match self.median() {
            Some(median) => {
                json!({ "min": self.min(), "median": median, "max": self.max(), "values": self.values })
            }
            None => Value::Null,
        }
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Sample {
        let mut sample = Sample::default();
        values.into_iter().for_each(|value| sample.push(value));
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let sample: Sample = [4.0, 1.0, f64::NAN, 3.0, 2.0].into_iter().collect();
        assert_eq!(
            (sample.min(), sample.median(), sample.max()),
            (Some(1.0), Some(2.5), Some(4.0))
        );
        let one: Sample = [7.0].into_iter().collect();
        assert_eq!(
            (one.min(), one.median(), one.max(), one.len()),
            (Some(7.0), Some(7.0), Some(7.0), 1)
        );
        assert_eq!(Sample::default().median(), None);
        assert_eq!(Sample::default().json(), Value::Null);
        assert_eq!(one.json()["median"], 7.0);
    }
}
