/* exp (below 2 ulp) and log (below 3) in double from plain arithmetic: the same bits with every C
 * library and CPU. */
#ifndef MODEL_MATH64_H
#define MODEL_MATH64_H

/* exp(x): 0 below -708 (where the result would be subnormal), inf above 709.78, NaN for NaN. */
double nn_exp64(double x);
/* Natural logarithm; x normal and positive, inf or NaN: else NaN. */
double nn_log64(double x);

#endif
