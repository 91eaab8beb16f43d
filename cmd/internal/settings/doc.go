// Package settings reads the configuration of a program: a strict YAML file, the
// environment over it, and flags over both. Everything that is wrong comes back at
// once, each mistake on the line where it was made. It reads, and starts nothing.
package settings
