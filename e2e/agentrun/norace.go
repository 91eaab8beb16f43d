//go:build !race

package agentrun

// Race says whether this program was built with the race detector.
const Race = false
