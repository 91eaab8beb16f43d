package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

const (
	// roundLasts is the time between two moments at which the API server is made to
	// connect anew, and perRound is how many pods each client creates in that time.
	roundLasts = time.Second
	perRound   = 5
	// replicas is how many the chart runs.
	replicas = 2
	// saySometimes is how many rounds there are between two lines of progress.
	saySometimes = 15
)

// rotations are how often certificates change, and for how long that is looked at.
type rotations struct {
	// lasts is how long; serving and authority are the ages at which the serving
	// certificate and the CA are replaced.
	lasts, serving, authority time.Duration
	// settle is what an API server is given to learn of a CA.
	settle time.Duration
}

// rotation measures whether any pod suffers from certificates that change far more
// often than they do in a cluster. The CA changes too: it is the harder half.
func (b *bench) rotation(ctx context.Context) error {
	return b.rotate(ctx, rotations{
		lasts: b.rotateFor, serving: 10 * time.Second, authority: 30 * time.Second, settle: time.Second,
	})
}

// rotate creates pods at a steady rate while the certificates change. A connection that
// is open keeps the certificate that it began with, and a few of them would last for the
// whole time: between two rounds, when no call is under way, the API server is made to
// connect anew, and so verifies whatever is served then by whatever it trusts then.
func (b *bench) rotate(ctx context.Context, often rotations) (err error) {
	site, err := b.openSite(ctx)
	if err != nil {
		return err
	}
	front, err := startRelay(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, front.close()) }()
	defer func() { err = errors.Join(err, site.withdraw(ctx)) }()
	served := newLookout(site.client)
	running := make([]*placementrun.Replica, 0, replicas)
	defer func() {
		for _, replica := range running {
			err = errors.Join(err, site.stop(ctx, replica))
		}
	}()
	for range replicas {
		replica, err := site.start(ctx, often.config(front.address()))
		if err != nil {
			return err
		}
		running, served.addresses = append(running, replica), append(served.addresses, replica.Reviews())
	}
	front.handTo(served.addresses...)
	if err := site.waitInForce(ctx, isPlaced); err != nil {
		return err
	}
	c := site.creator(isPlaced)
	// Nobody is asked about what is deleted, and thousands of pods would slow the cluster.
	c.pace, c.deletes = roundLasts/perRound, true
	seen, err := b.keepCreating(ctx, c, often.lasts, front, served)
	if err != nil {
		return err
	}
	if seen.failure != nil {
		b.say("  a pod was not created: %v", seen.failure)
	}
	if served.distrust != nil {
		b.say("  a handshake failed: %v", served.distrust)
	}
	b.results.put("rotation", ebbtide, seen.figures())
	return nil
}

// config is the configuration of a replica behind a front at this address. A serving
// certificate lives for six rotations, and a CA for as long again as it is used, as by
// default.
func (r rotations) config(front string) map[string]any {
	return map[string]any{
		"webhook": map[string]any{"url": "https://" + front, "linger": "0s"},
		"certificate": map[string]any{
			"settle":  r.settle.String(),
			"serving": (6 * r.serving).String(), "rotateServing": r.serving.String(),
			"authority": (2*r.authority + 6*r.serving + r.settle).String(), "rotateAuthority": r.authority.String(),
		},
	}
}

// rotating is what was seen while certificates changed.
type rotating struct {
	batch
	lasted      time.Duration
	calls       calls
	connections int // of the API server
	served      *lookout
}

// keepCreating plays rounds until they have lasted long enough.
func (b *bench) keepCreating(ctx context.Context, c creator, lasts time.Duration, front *relay, served *lookout) (*rotating, error) {
	seen := &rotating{served: served}
	before, err := countCalls(ctx, b.lab.Client())
	if err != nil {
		return nil, err
	}
	began, connected := time.Now(), front.connections()
	for n := 1; time.Since(began) < lasts; n++ {
		var looking sync.WaitGroup
		looking.Go(func() { served.look(ctx) })
		next := time.Now().Add(roundLasts)
		created, err := c.create(ctx, clients*perRound)
		seen.add(created)
		looking.Wait()
		if err == nil {
			err = pause(ctx, time.Until(next))
		}
		if err == nil {
			err = front.renew(ctx)
		}
		if err != nil {
			return nil, err
		}
		if n%saySometimes == 0 {
			b.say("  %.0f s: %d pods created, %d failed, %d not placed; %d certificates of %d CAs seen, %d connections",
				time.Since(began).Seconds(), len(seen.took), seen.failed, seen.misplaced,
				len(served.certificates), len(served.authorities), front.connections()-connected)
		}
	}
	seen.lasted, seen.connections = time.Since(began), front.connections()-connected
	after, err := countCalls(ctx, b.lab.Client())
	seen.calls = after.since(before)
	return seen, err
}

// figures are those of the whole time.
func (r *rotating) figures() Figures {
	creates := len(r.took) + r.failed
	figures := Figures{
		figureLasted: round(r.lasted.Seconds()), figureCreates: float64(creates),
		figureFailedCreates: float64(r.failed), figureMisplaced: float64(r.misplaced),
		figureCalls: float64(r.calls.all), figureFailedCalls: float64(r.calls.wrong()),
		figureCertificates: float64(len(r.served.certificates)), figureAuthorities: float64(len(r.served.authorities)),
		figureDistrusted: float64(r.served.distrusted), figureConnections: float64(r.connections),
	}
	figures.putRatio(figureCallsPerCreate, float64(r.calls.all), creates)
	figures.putRatio(figureSecondsPerCertificate, r.lasted.Seconds(), len(r.served.certificates))
	figures.putRatio(figureSecondsPerConnection, r.lasted.Seconds(), r.connections)
	figures.putMedian(figureCreateP50, []float64{r.quantile(0.5)})
	figures.putMedian(figureCreateP99, []float64{r.quantile(0.99)})
	return figures
}
