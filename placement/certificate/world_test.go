package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// world is a cluster in virtual time: one Secret and one webhook configuration with
// all their versions, API servers that see the configuration late, and replicas that
// see both late and whose requests take their time.
type world struct {
	random *rand.Rand
	rules  rules
	now    time.Time
	// lag is how late an API server may see its configuration.
	lag time.Duration
	// late is how late a replica may be with everything.
	late time.Duration

	secrets []map[string][]byte
	configs []configVersion
	servers []int // the version of the configuration that each API server holds

	replicas []*replica
	done     map[Change]int
	verified map[string]bool // what was asked before, which time does not change
}

type configVersion struct {
	entries []entry
	since   time.Time
}

// replica is what Keeper is: the last view, what is served, and one step at a time.
type replica struct {
	skew           time.Duration
	secret, config int // versions that its watches have brought
	serving        *tls.Certificate
	seen           sights
	flight         *flight
	again          time.Time
	fresh          time.Time // when its watches were last not behind
}

// flight is a step whose requests are on their way.
type flight struct {
	step
	data           map[string][]byte
	secret, config int
	now            time.Time // by the replica's clock
}

func newWorld(seed uint64, r rules, lag time.Duration) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, seed)), rules: r, lag: lag, //nolint:gosec // a test has to be repeatable
		// Less than a certificate has left when it is due: a replica that hears nothing
		// for so long stops being ready.
		late:    3 * 24 * time.Hour,
		now:     time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC),
		secrets: []map[string][]byte{nil},
		servers: make([]int, 2),
		done:    map[Change]int{}, verified: map[string]bool{},
	}
	w.configs = []configVersion{{entries: []entry{{name: "a"}, {name: "b"}}, since: w.now}}
	for range 2 {
		// Within Tolerance of the API servers, and of each other.
		skew := time.Duration(w.random.Int64N(int64(Tolerance))) - Tolerance/2
		w.replicas = append(w.replicas, &replica{skew: skew})
	}
	return w
}

func (w *world) config() configVersion { return w.configs[len(w.configs)-1] }

func (w *world) configure(entries []entry) {
	w.configs = append(w.configs, configVersion{entries: entries, since: w.now})
}

// pass lets time go by: a moment, or until just about something is due.
func (w *world) pass() {
	var by time.Duration
	switch w.random.IntN(8) {
	case 0, 1, 2:
		by = time.Duration(w.random.Int64N(int64(time.Second)))
	case 3, 4, 5:
		by = time.Duration(w.random.Int64N(int64(w.rules.periods.Settle)))
	case 6:
		by = time.Duration(w.random.Int64N(int64(12 * time.Hour)))
	case 7:
		for _, r := range w.replicas {
			if due := r.again.Add(-r.skew).Sub(w.now); due > 0 && (by == 0 || due < by) {
				by = due
			}
		}
		by = min(by, 24*time.Hour)
	}
	w.advance(by)
}

// advance lets time go by, and holds everybody to how late they may be.
func (w *world) advance(by time.Duration) {
	w.now = w.now.Add(by)
	for i := range w.servers {
		for w.servers[i]+1 < len(w.configs) && w.now.Sub(w.configs[w.servers[i]+1].since) > w.lag {
			w.servers[i]++
		}
	}
	for _, r := range w.replicas {
		if w.now.Sub(r.fresh) > w.late {
			r.secret, r.config, r.fresh, r.flight = len(w.secrets)-1, len(w.configs)-1, w.now, nil
			w.look(r)
		}
	}
}

// happen is one thing that happens to somebody.
func (w *world) happen() {
	if w.random.IntN(5) == 0 {
		i := w.random.IntN(len(w.servers))
		w.servers[i] = w.between(w.servers[i], len(w.configs)-1)
		return
	}
	r := w.replicas[w.random.IntN(len(w.replicas))]
	switch w.random.IntN(6) {
	case 0:
		r.secret = w.between(r.secret, len(w.secrets)-1)
	case 1:
		r.config = w.between(r.config, len(w.configs)-1)
	case 2, 3, 4:
		if r.flight != nil {
			w.land(r)
			return
		}
		w.look(r)
	case 5:
		if w.random.IntN(20) == 0 {
			w.restart(r)
		}
	}
}

func (w *world) between(low, high int) int { return low + w.random.IntN(high-low+1) }

// restart loses what the replica had in memory. Its first view is fresh.
func (w *world) restart(r *replica) {
	*r = replica{skew: r.skew, secret: len(w.secrets) - 1, config: len(w.configs) - 1, fresh: w.now}
}

// look takes a step, and sends off its requests.
func (w *world) look(r *replica) {
	f := &flight{data: w.secrets[r.secret], secret: r.secret, config: r.config, now: w.now.Add(r.skew)}
	f.step = w.rules.next(view{
		data: f.data, live: w.configs[r.config].entries, serving: r.serving, seen: r.seen, now: f.now,
	})
	r.serving, r.seen, r.again = f.serve, f.seen, f.again
	if f.change != "" || len(f.publish.bundle) > 0 {
		r.flight = f
	}
}

// land brings the requests to the API server, which takes those whose lock still holds.
func (w *world) land(r *replica) {
	f := r.flight
	r.flight = nil
	if f.change != "" && f.secret == len(w.secrets)-1 {
		data, err := w.rules.write(f.change, f.data, f.held, f.now)
		if err != nil {
			panic(err)
		}
		w.secrets = append(w.secrets, data)
		w.done[f.change]++
	}
	if len(f.publish.bundle) == 0 || f.config != len(w.configs)-1 {
		return
	}
	if f.publish.removes && f.secret != len(w.secrets)-1 {
		r.secret = len(w.secrets) - 1 // read afresh, and decided again
		return
	}
	var entries []entry
	for _, e := range w.config().entries {
		entries = append(entries, entry{name: e.name, bundle: f.publish.bundle})
	}
	w.configure(entries)
}

// settle lets everybody see everything and do what is due.
func (w *world) settle() {
	for range 12 {
		for i := range w.servers {
			w.servers[i] = len(w.configs) - 1
		}
		for _, r := range w.replicas {
			r.secret, r.config = len(w.secrets)-1, len(w.configs)-1
			w.look(r)
			if r.flight != nil {
				w.land(r)
			}
		}
		w.now = w.now.Add(w.rules.periods.Settle / 2)
	}
}

// ready is what the replica says of itself: Keeper.Ready, by its own clock and view.
func (w *world) ready(r *replica) bool {
	refuses := func(e entry) bool { return w.call(r.serving, e.bundle, w.now.Add(r.skew)) != nil }
	return r.serving != nil && !slices.ContainsFunc(w.configs[r.config].entries, refuses)
}

// refused returns a call that would fail: of an API server that has ever seen a
// caBundle, to a replica that says that it is ready.
func (w *world) refused() error {
	for i, r := range w.replicas {
		if !w.ready(r) {
			continue
		}
		for j, version := range w.servers {
			for _, e := range w.configs[version].entries {
				if err := w.call(r.serving, e.bundle, w.now); err != nil && len(e.bundle) > 0 {
					return fmt.Errorf("at %s replica %d serves what API server %d refuses: %w", w.now.Format(time.RFC3339), i, j, err)
				}
			}
		}
	}
	return nil
}

// call is a handshake. Its signatures are checked once for each pair; the times always.
func (w *world) call(serving *tls.Certificate, bundle []*x509.Certificate, now time.Time) error {
	if err := validity(serving.Leaf, now); err != nil {
		return err
	}
	signer := slices.IndexFunc(bundle, func(ca *x509.Certificate) bool {
		key := string(serving.Leaf.Raw) + string(ca.Raw)
		known, is := w.verified[key]
		if !is {
			known = verify(serving, []*x509.Certificate{ca}, w.rules.names, serving.Leaf.NotBefore.Add(Tolerance)) == nil
			w.verified[key] = known
		}
		return known
	})
	if signer < 0 {
		return x509.UnknownAuthorityError{Cert: serving.Leaf}
	}
	return validity(bundle[signer], now)
}
