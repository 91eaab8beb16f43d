// Package process holds what every program of Ebbtide does as a process: log, reach
// the API server, serve metrics and health, and say what it is.
package process
