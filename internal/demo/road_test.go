package demo_test

import "math"

// The environment of training/driving_env.py, number for number: the same seed
// gives the same road, and the same actions give the same drive. The names and
// the constants are those of the Python file, which explains them.
const (
	pointSpacing   = 2.0
	roadPoints     = 111
	halfWidth      = 4.0
	startPoint     = 5
	straightPoints = 10
	blockPoints    = 5

	bodyRadius           = 0.9
	wheelBase            = 2.6
	wheelAngleMax        = 0.5
	wheelRate            = 4.0
	throttleAcceleration = 4.0
	brakeAcceleration    = 7.0
	drag                 = 0.02
	grip                 = 6.0
	speedMax             = 200.0 / 3.6

	sensorRange = 30.0
	timeStep    = 0.1
	maxSteps    = 450
)

var sensorDegrees = [5]float64{70, 30, 0, -30, -70}

// splitMix64 is the splitmix64 generator.
type splitMix64 uint64

func (s *splitMix64) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

func (s *splitMix64) uniform(low, high float64) float64 {
	return low + (high-low)*(float64(s.next()>>11)*(1.0/(1<<53)))
}

func (s *splitMix64) integer(low, high int) int {
	return low + int(s.next()%uint64(high-low+1))
}

func (s *splitMix64) coin() bool { return s.integer(0, 1) == 1 }

type point struct{ x, y float64 }

// road is a centre line with two edges, all polylines.
type road struct {
	centre      [roadPoints]point
	heading     [roadPoints]float64
	left, right [roadPoints]point
}

func newRoad(random *splitMix64) *road {
	r := new(road)
	curvature := drawCurvature(random)
	left, right := drawHalfWidths(random)
	for i := 1; i < roadPoints; i++ {
		r.heading[i] = r.heading[i-1] + curvature[i]*pointSpacing
		sin, cos := math.Sincos((r.heading[i-1] + r.heading[i]) / 2)
		r.centre[i] = point{r.centre[i-1].x + pointSpacing*cos, r.centre[i-1].y + pointSpacing*sin}
	}
	for i, c := range r.centre {
		sin, cos := math.Sincos(r.heading[i])
		r.left[i] = point{c.x - left[i]*sin, c.y + left[i]*cos}
		r.right[i] = point{c.x + right[i]*sin, c.y - right[i]*cos}
	}
	return r
}

func drawCurvature(random *splitMix64) (curvature [roadPoints]float64) {
	side := -1.0
	if random.coin() {
		side = 1.0
	}
	for at := straightPoints; at < roadPoints; side = -side {
		length := random.integer(8, 16)
		bend := side / random.uniform(14, 40)
		limit := 1.3 / (float64(length) * pointSpacing)
		bend = max(-limit, min(limit, bend))
		for i := at; i < min(at+length, roadPoints); i++ {
			curvature[i] = bend
		}
		at += length
	}
	return curvature
}

func drawHalfWidths(random *splitMix64) (left, right [roadPoints]float64) {
	for i := range left {
		left[i], right[i] = halfWidth, halfWidth
	}
	for at := random.integer(14, 22); at+blockPoints < roadPoints; at += random.integer(14, 22) {
		depth := random.uniform(1.8, 2.6)
		edge := &right
		if random.coin() {
			edge = &left
		}
		for i := at + 1; i < at+blockPoints-1; i++ {
			edge[i] = halfWidth - depth
		}
	}
	return left, right
}

// car drives one episode.
type car struct {
	road     *road
	at       point
	heading  float64
	speed    float64
	steering float64
	nearest  int // index of the centre line's nearest point
	steps    int
	obs      [7]float32
}

// newCar starts the episode of a seed.
func newCar(seed uint64) *car {
	random := splitMix64(seed)
	c := &car{road: newRoad(&random), nearest: startPoint}
	side := random.uniform(-1.5, 1.5)
	heading := c.road.heading[startPoint]
	sin, cos := math.Sincos(heading)
	start := c.road.centre[startPoint]
	c.at = point{start.x - side*sin, start.y + side*cos}
	c.heading = heading + random.uniform(-0.15, 0.15)
	c.speed = random.uniform(4, 9)
	c.locate()
	c.sense()
	return c
}

// step moves the car by one time step. It tells whether the episode is over,
// and whether the car has come to the end of the road.
func (c *car) step(throttle, brake, steer float64) (over, success bool) {
	throttle = max(0, min(1, throttle))
	brake = max(0, min(1, brake))
	steer = max(-1, min(1, steer))

	const change = wheelRate * timeStep
	c.steering += max(-change, min(change, steer-c.steering))
	acceleration := throttleAcceleration*throttle - brakeAcceleration*brake - drag*c.speed*c.speed
	c.speed = max(0, min(speedMax, c.speed+acceleration*timeStep))
	turn := c.speed / wheelBase * math.Tan(c.steering*wheelAngleMax)
	if c.speed*math.Abs(turn) > grip {
		turn = math.Copysign(grip/c.speed, turn)
	}
	sin, cos := math.Sincos(c.heading + turn*timeStep/2)
	c.at.x += c.speed * timeStep * cos
	c.at.y += c.speed * timeStep * sin
	c.heading += turn * timeStep
	c.steps++

	c.locate()
	crashed := c.sense() < bodyRadius
	success = !crashed && c.nearest >= roadPoints-2
	return crashed || success || c.steps >= maxSteps, success
}

// locate moves nearest along by at most two points.
func (c *car) locate() {
	best, at := math.Inf(1), c.nearest
	for i := max(c.nearest-2, 0); i < min(c.nearest+3, roadPoints); i++ {
		p := c.road.centre[i]
		if d := (p.x-c.at.x)*(p.x-c.at.x) + (p.y-c.at.y)*(p.y-c.at.y); d < best {
			best, at = d, i
		}
	}
	c.nearest = at
}

// sense fills obs and returns the distance of the nearest edge.
func (c *car) sense() float64 {
	ranges := [5]float64{sensorRange, sensorRange, sensorRange, sensorRange, sensorRange}
	var rays [5]point
	for i, degrees := range sensorDegrees {
		rays[i].y, rays[i].x = math.Sincos(c.heading + math.Pi*degrees/180)
	}
	nearest := math.Inf(1)
	for _, edge := range []*[roadPoints]point{&c.road.left, &c.road.right} {
		for i := max(c.nearest-8, 0); i < min(c.nearest+17, roadPoints-1); i++ {
			a := point{edge[i].x - c.at.x, edge[i].y - c.at.y}
			e := point{edge[i+1].x - edge[i].x, edge[i+1].y - edge[i].y}
			for k, d := range rays {
				cross := d.x*e.y - d.y*e.x
				t := (a.x*e.y - a.y*e.x) / cross
				u := (a.x*d.y - a.y*d.x) / cross
				if t >= 0 && u >= 0 && u <= 1 {
					ranges[k] = min(ranges[k], t)
				}
			}
			u := max(0, min(1, -(a.x*e.x+a.y*e.y)/(e.x*e.x+e.y*e.y)))
			nearest = min(nearest, (a.x+u*e.x)*(a.x+u*e.x)+(a.y+u*e.y)*(a.y+u*e.y))
		}
	}
	c.obs[0], c.obs[1] = float32(c.speed*3.6), float32(c.steering)
	for k, r := range ranges {
		c.obs[2+k] = float32(min(r/sensorRange, 1))
	}
	return math.Sqrt(nearest)
}
