//go:build race

package programrun

// Race says whether this program was built with the race detector.
const Race = true
