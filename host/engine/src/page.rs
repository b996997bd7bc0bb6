//! Lists in pages.

/// A page of a list that is ordered by key.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The cursor of the next page: the last key of this one, when there are more.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Up to `limit` of the items, which come in order of `key`, that stand after the cursor.
    pub(crate) fn of(items: impl IntoIterator<Item = T>, after: Option<&str>, limit: usize, key: impl Fn(&T) -> &str) -> Self {
        let mut rest = items.into_iter().filter(|item| after.is_none_or(|after| key(item) > after));
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let next = if more { items.last().map(|last| key(last).to_owned()) } else { None };
        Self { items, next }
    }

    /// The same page of other items.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Page;

    proptest! {
        #[test]
        fn pages_together_are_the_list_and_only_the_last_has_no_cursor(
            names in proptest::collection::btree_set("[a-d]{1,3}", 0..20), limit in 1usize..6,
        ) {
            let mut seen = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page = Page::of(names.iter().cloned(), after.as_deref(), limit, String::as_str);
                prop_assert!(page.items.len() <= limit);
                seen.extend(page.items);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            prop_assert_eq!(seen, names.into_iter().collect::<Vec<_>>());
        }
    }
}
