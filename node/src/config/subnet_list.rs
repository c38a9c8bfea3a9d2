//! The subnets of a configuration: a list that is cheap to copy, and to copy with one of them changed.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use imbl::Vector;

use super::model::Subnet;

/// Every subnet, in the order of the document within each network.
#[derive(Debug, Clone, Default)]
pub struct Subnets(Vector<Arc<Subnet>>);

impl Subnets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The subnet at a place.
    pub fn get(&self, at: usize) -> Option<&Subnet> {
        self.0.get(at).map(|subnet| &**subnet)
    }

    /// All of them, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// The subnet at a place, to be changed; other lists keep it as it was.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Subnet> {
        self.0.get_mut(at).map(Arc::make_mut)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subnet> {
        self.0.iter_mut().map(Arc::make_mut)
    }
}

impl Index<usize> for Subnets {
    type Output = Subnet;

    fn index(&self, at: usize) -> &Subnet {
        &self.0[at]
    }
}

impl FromIterator<Subnet> for Subnets {
    fn from_iter<T: IntoIterator<Item = Subnet>>(subnets: T) -> Subnets {
        Subnets(subnets.into_iter().map(Arc::new).collect())
    }
}

impl<'a> IntoIterator for &'a Subnets {
    type Item = &'a Subnet;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Goes through [`Subnets`].
#[derive(Clone)]
pub struct Iter<'a>(imbl::vector::Iter<'a, Arc<Subnet>, imbl::shared_ptr::DefaultSharedPtr>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Subnet;

    fn next(&mut self) -> Option<&'a Subnet> {
        self.0.next().map(|subnet| &**subnet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|subnet| &**subnet)
    }
}
