package gcp

import "time"

// shortStep is a step that a fake on a loaded machine still makes.
const shortStep = 300 * time.Millisecond

// Hasten makes the server's second, and the pause between requests that are not
// held, last as long as d, for a fake whose seconds do, and a step shorter.
func (w *watch) Hasten(d time.Duration) { w.second, w.pause, w.client.step = d, d, shortStep }

// Hasten makes a step shorter.
func (u *UpcomingMaintenance) Hasten() { u.client.step = shortStep }

// Age lets d pass, as far as the trust in the server goes.
func (w *watch) Age(d time.Duration) { w.client.known.Age(d) }

// Age lets d pass, as far as the trust in the server goes.
func (u *UpcomingMaintenance) Age(d time.Duration) { u.client.known.Age(d) }

// LookAgain makes the next poll a plain GET, as after a minute.
func (w *watch) LookAgain() { w.looked = w.looked.Add(-lookAgain) }
