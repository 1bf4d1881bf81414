"""Um ``google.colab`` de mentira, para executar os cadernos como se estivessem no Colab."""
