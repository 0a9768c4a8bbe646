//! Where a number belongs in a sorted list, by a guess first.
//!
//! A binary search in a list of some hundred thousand numbers waits for a dozen reads, one after the other, of which the last few alone share
//! a line of the cache. Numbers that are spread evenly tell by themselves where they are: between the first and the last, in
//! proportion (interpolation search; Peterson, Addressing for random-access storage, 1957). Of `n` random ones the guess is
//! wrong by `sqrt(n) / 2` at most (one sigma), so the answer is looked for within a few times as much, and what is read lies close together.
//!
//! Numbers that are not spread evenly cost [`LEAPS`] reads more, and then the search goes on by halves as it would have.

/// Lists that are shorter are searched by halves: they lie in the cache.
const FEW: usize = 256;
/// So often the neighbourhood of the guess is widened.
const LEAPS: u32 = 3;
/// By this factor each time.
const WIDER: usize = 4;

/// How many numbers of a sorted list are smaller than `wanted`.
#[inline]
pub fn count_below(sorted: &[u64], wanted: u64) -> usize {
    let (low, high) = match sorted {
        [first, .., last] if sorted.len() >= FEW => neighbourhood(sorted, *first, *last, wanted),
        _ => (0, sorted.len()),
    };
    low + sorted[low..high].partition_point(|&number| number < wanted)
}

/// A range that the answer lies in, its end included.
#[inline]
fn neighbourhood(sorted: &[u64], first: u64, last: u64, wanted: u64) -> (usize, usize) {
    let len = sorted.len();
    if wanted <= first {
        return (0, 0);
    }
    if wanted > last {
        return (len, len);
    }
    // Between 0 and 1, since `first < wanted <= last`.
    let share = (wanted - first) as f64 / (last - first) as f64;
    let guess = ((share * (len - 1) as f64) as usize).min(len - 1);
    let mut step = len.isqrt();
    let (mut low, mut high) = (0, len);
    if sorted[guess] < wanted {
        low = guess + 1;
        for _ in 0..LEAPS {
            let at = low + step;
            if at >= high {
                break;
            }
            if sorted[at] >= wanted {
                high = at;
                break;
            }
            low = at + 1;
            step *= WIDER;
        }
    } else {
        high = guess;
        for _ in 0..LEAPS {
            let Some(at) = high.checked_sub(step) else { break };
            if sorted[at] < wanted {
                low = at + 1;
                break;
            }
            high = at;
            step *= WIDER;
        }
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the numbers are and whichever is wanted: the answer is that of a search by halves.
    #[test]
    fn the_answer_is_that_of_a_search_by_halves() {
        let mut seed = 3u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed ^ (seed >> 31)
        };
        type Number = fn(u64, u64) -> u64;
        let kinds: [Number; 8] = [
            |random, _| random,
            |_, i| i,
            |_, i| u64::MAX - i,
            |_, _| 7,
            |random, _| random % 10,
            |random, _| if random % 50 == 0 { random } else { random >> 50 },
            |random, i| if i % 2 == 0 { random >> 8 } else { u64::MAX - (random >> 8) },
            |random, i| 1 << (i % 64) | random >> 20,
        ];
        for kind in kinds {
            for len in [0, 1, 2, FEW - 1, FEW, FEW + 1, 3000, 40_000] {
                let mut sorted: Vec<u64> = (0..len as u64).map(|i| kind(random(), i)).collect();
                sorted.sort_unstable();
                let present: Vec<u64> =
                    (0..500).filter_map(|_| sorted.get(random() as usize % len.max(1))).copied().collect();
                let near =
                    present.iter().flat_map(|&number| [number, number.saturating_sub(1), number.saturating_add(1)]);
                for wanted in near.chain((0..500).map(|_| random())).chain([0, 1, u64::MAX - 1, u64::MAX]) {
                    let right = sorted.partition_point(|&number| number < wanted);
                    assert_eq!(count_below(&sorted, wanted), right, "{wanted} among {len}");
                }
            }
        }
    }
}
