/* Eigenvalues and eigenvectors of a small symmetric matrix: cyclic Jacobi rotations in double.
 * O(n^3) a sweep, under ten sweeps; uses + - * / sqrt only, so the same bits everywhere.
 * Source: Golub and Van Loan, "Matrix Computations", section 8.5. */
#ifndef MODEL_EIGEN_H
#define MODEL_EIGEN_H

#include "common/status.h"

/* a (n, n) symmetric; destroyed. value[n] descending; vector (n, n), row i the unit eigenvector of
 * value[i]. CM_ENUMERIC when a is not finite. Allocates nothing. */
CM_MUST_CHECK cm_status nn_eigen_symmetric(double *a, int n, double *value, double *vector);

#endif
