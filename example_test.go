package carlarl_test

import (
	"fmt"
	"log"

	carlarl "github.com/carla-rl/carla-rl-serving"
)

// A policy folder is opened once; each observation is then an action away.
func Example() {
	policy, err := carlarl.Open("internal/demo/artifact")
	if err != nil {
		log.Fatal(err)
	}
	for _, feature := range policy.Features() {
		fmt.Printf("%s: %v to %v\n", feature.Name, feature.Low, feature.High)
	}
	action, err := policy.Act(carlarl.Observation{
		"speed":    25.5,
		"steering": 0.1,
		"sensors":  []float64{0.8, 0.2, 0.5, 0.9, 0.1},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range action.Names() {
		fmt.Printf("%s %.2f\n", name, action.Value(name))
	}
	// Output:
	// speed: 0 to 200
	// steering: -1 to 1
	// sensors: 0 to 1
	// throttle 0.00
	// brake 0.13
	// steer -0.85
}
