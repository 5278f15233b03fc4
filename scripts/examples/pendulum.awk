# A damped pendulum that is let go at half a radian: prints time and angle every half second.
# awk -v metres=0.75 -v damping=0.2 -f pendulum.awk
BEGIN {
    step = 0.001
    angle = 0.5
    speed = 0
    for (i = 0; i < 5000; i++) {
        if (i % 500 == 0)
            printf "%.1f %.4f\n", i * step, angle
        # the midpoint rule
        middle = angle + step / 2 * speed
        halfway = speed + step / 2 * pull(angle, speed)
        angle += step * halfway
        speed += step * pull(middle, halfway)
    }
}
function pull(a, s) { return -9.81 / metres * sin(a) - damping * s }
