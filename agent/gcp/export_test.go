package gcp

import "time"

// Hasten makes the server's second, and the pause between requests that are not
// held, last as long as d, for a fake whose seconds do.
func (w *watch) Hasten(d time.Duration) { w.second, w.pause = d, d }

// Age lets d pass, as far as the trust in the server goes.
func (w *watch) Age(d time.Duration) { w.client.known.Age(d) }

// Age lets d pass, as far as the trust in the server goes.
func (u *UpcomingMaintenance) Age(d time.Duration) { u.client.known.Age(d) }

// LookAgain makes the next poll a plain GET, as after a minute.
func (w *watch) LookAgain() { w.looked = w.looked.Add(-lookAgain) }
