"""Codecs as the types that other libraries ask for, such as the autoencoder of a pipeline or an audio tokenizer.

`diffusers` and `transformers` are views of a codec and hold no weights of their own. Each imports its library only when
it is used. `hooks` runs the hooks of accelerate for both.
"""
