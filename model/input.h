/* INPUT: gather, augment, normalise: batch->images (uint8, (N, H, W, C)) to y (n, H, W, C).
 * Output pixel (i, j) of image n, with a = augment[n] and img = images[index[n]]:
 *   crop     row r = i + a.dy, column q = j + a.dx of the padded image
 *   outside  reflect mirrors r about 0 and H - 1 without repeating the edge, as often as needed
 *            (H = 1: 0), q likewise; zero gives black (byte 0), as torchvision's RandomCrop does
 *   flip     then column W - 1 - q is read for q
 *   value    y = (byte / 255 - mean[c]) / std[c], in double, rounded once to desc.dtype
 *   cut      y = 0 where cut_y <= i < cut_y + cut_n and cut_x <= j < cut_x + cut_n
 * There is no backward. */
#ifndef MODEL_INPUT_H
#define MODEL_INPUT_H

#include "model/op.h"

extern const struct nn_op_impl nn_input_ref;
extern const struct nn_op_impl nn_input_cpu;

#endif
