// Package stolen holds what somebody would try with the stolen token of an agent's pod,
// and what the agent itself asks for with it. It is asked on simulated nodes and on real
// ones: the tests of both bring the victims. All requests are rehearsals: admission
// judges them like any other, and whoever comes through has changed nothing for the next.
package stolen
