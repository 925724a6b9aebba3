//! Matrix products on slices.

use gemm::Parallelism;

use crate::real::Real;

/// A matrix in a slice, with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// A row-major matrix.
    pub(crate) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A matrix whose rows stand `row_stride` apart.
    pub(crate) fn strided(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len());
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Where a product goes: row-major, rows `row_stride` apart.
pub(crate) struct Target<'a, T> {
    pub(crate) data: &'a mut [T],
    pub(crate) row_stride: usize,
}

/// Threads of one product.
#[derive(Clone, Copy)]
pub(crate) enum Threads {
    /// The calling thread alone.
    #[cfg(test)]
    One,
    /// Those of the current rayon pool.
    Pool,
}

/// `target = keep * target + factor * a b`. Bound by FLOPs, 2 rows columns depth, but for thin operands.
///
/// The order of the additions depends on the shapes and on the processor's caches, not on the number of
/// threads (tested), so neither does the result.
pub(crate) fn product<T: Real>(
    target: Target<'_, T>,
    keep: bool,
    factor: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    threads: Threads,
) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert_eq!(depth, b.rows);
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * target.row_stride + columns <= target.data.len() && columns <= target.row_stride);
    let parallelism = match threads {
        #[cfg(test)]
        Threads::One => Parallelism::None,
        Threads::Pool => match rayon::current_num_threads() {
            1 => Parallelism::None,
            threads => Parallelism::Rayon(threads),
        },
    };
    // SAFETY: the three slices hold every element that shapes and strides reach (asserted above and in
    // `strided`), the target is borrowed exclusively and its rows do not overlap; T is f32 or f64.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target.data.as_mut_ptr(),
            1,
            target.row_stride as isize,
            keep,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(count: usize, step: f64) -> Vec<f64> {
        (0..count).map(|index| (index as f64 * step).sin()).collect()
    }

    /// Every combination of transposition, against the sums written out, in and out of place.
    #[test]
    fn products_are_sums_of_products() {
        for (rows, columns, depth) in
            [(1, 1, 1), (3, 5, 4), (17, 17, 64), (33, 20, 2), (40, 1, 9), (1, 30, 30)]
        {
            for (a_flip, b_flip) in [(false, false), (false, true), (true, false), (true, true)] {
                let (a, b) = (pattern(rows * depth, 0.7), pattern(depth * columns, 1.3));
                let a_at = |i, k| if a_flip { a[k * rows + i] } else { a[i * depth + k] };
                let b_at = |k, j| if b_flip { b[j * depth + k] } else { b[k * columns + j] };
                let left = if a_flip {
                    Matrix::new(&a, depth, rows).transposed()
                } else {
                    Matrix::new(&a, rows, depth)
                };
                let right = if b_flip {
                    Matrix::new(&b, columns, depth).transposed()
                } else {
                    Matrix::new(&b, depth, columns)
                };
                for keep in [false, true] {
                    let stride = columns + 2;
                    let start = pattern(rows * stride, 0.3);
                    let mut result = start.clone();
                    let target = Target { data: &mut result, row_stride: stride };
                    product(target, keep, 0.5, left, right, Threads::One);
                    for i in 0..rows {
                        for j in 0..columns {
                            let sum: f64 = (0..depth).map(|k| a_at(i, k) * b_at(k, j)).sum();
                            let before = if keep { start[i * stride + j] } else { 0.0 };
                            let expected = before + 0.5 * sum;
                            assert!((result[i * stride + j] - expected).abs() < 1e-12);
                        }
                        assert_eq!(result[i * stride + columns], start[i * stride + columns], "outside");
                    }
                }
            }
        }
    }

    /// The shapes of a step, on pools of one to three threads: the same bits.
    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let of = |threads: usize, rows, columns, depth, flip: bool| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let a: Vec<f32> = pattern(rows * depth, 0.7).iter().map(|&x| x as f32).collect();
                let b: Vec<f32> = pattern(depth * columns, 1.3).iter().map(|&x| x as f32).collect();
                let mut out = vec![0f32; rows * columns];
                let a = if flip {
                    Matrix::new(&a, depth, rows).transposed()
                } else {
                    Matrix::new(&a, rows, depth)
                };
                let b = Matrix::new(&b, depth, columns);
                let target = Target { data: &mut out, row_stride: columns };
                product(target, false, 1.0, a, b, Threads::Pool);
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            })
        };
        for (rows, columns, depth, flip) in
            [(544, 384, 128, false), (128, 512, 544, true), (300, 7, 1100, false), (1, 900, 900, false)]
        {
            let one = of(1, rows, columns, depth, flip);
            assert_eq!(one, of(2, rows, columns, depth, flip), "{rows} x {columns} x {depth}");
            assert_eq!(one, of(3, rows, columns, depth, flip), "{rows} x {columns} x {depth}");
        }
    }
}
