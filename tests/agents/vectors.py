"""Vectors over all parameters of an agent, for tests that compare with formulas written a parameter at a time."""


def by_name(agent, vector):
    """The parts of a vector [P] in the shapes of the agent's parameters, by their names."""
    names = [name for name, _ in agent.network.plastic.named_parameters()]
    return dict(zip(names, agent.optimizer.views(vector), strict=True))


def penalty_gradient(agent):
    """The gradient of an agent's penalty by parameter name: what it makes of a gradient of zero."""
    return by_name(agent, agent.penalised(agent.theta.new_zeros(len(agent.theta)))[0])
