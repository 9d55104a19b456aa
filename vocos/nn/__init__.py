"""Layers that two or more codecs share, and the arithmetic of their lengths. Channel-first `[B, C, N]` inside.

`conv`, `blocks` and `seanet` are convolutional encoders and decoders, `vocoder` and `spectral` the ConvNeXt vocoder and
its transforms, `quantize` residual quantisers, `gaussian` the bottleneck of variational autoencoders. `length` computes
how long an output is, `names` what public code calls the modules, `hooked` sees layers that somebody changed.
"""
