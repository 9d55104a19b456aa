"""Codecs as the types that other libraries ask for: views of the codec itself, each with a library of its own."""
