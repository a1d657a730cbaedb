// Package kernel computes on slices of float32: the products of dense and
// convolutional layers, their activations, elementwise arithmetic and random
// draws. What enters are slices whose lengths the caller has arranged; what
// leaves are the same slices filled in.
//
// Each kernel that has a fast form (AVX2 with FMA on amd64, NEON on arm64) has
// a twin in Go of the same meaning, which is what runs on other machines and
// what the fast form is tested against. An Impl chooses between them. Products
// of many rows and convolutions have a form in AVX-512 too, of the same bits as
// that in AVX2; for one row and for functions of elements it does not pay.
//
// No kernel allocates, keeps a slice or starts a goroutine. The result of a
// row depends on that row alone: the order in which a product is summed
// follows from the shape of the weights, never from the number of rows, so a
// row gives the same bits in every batch; only a Chain that was asked to may
// add in another order. NaN is never turned into a number.
//
// The package imports nothing of this module.
package kernel
